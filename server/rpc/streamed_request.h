// The request of a call that streams its answers: which model it means, and its message, which is
// parsed later and maybe on another thread.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <initializer_list>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "server/rpc/byte_buffer.h"
#include "server/rpc/text_field.h"
#include "server/service/service.h"
#include "server/service/tokens.h"

namespace fmaserver::rpc {

/// The model that `request` names in the field at `path`, when its caller is admitted.
inline absl::StatusOr<models::ModelPtr> ModelOf(const service::Service& service,
                                                service::Call& call,
                                                const grpc::ByteBuffer& request,
                                                std::initializer_list<int> path) {
  if (!call.admission().ok()) return call.admission();
  return service.Find(
      TextField(request, call.limits().request_bytes, std::span(path.begin(), path.size())), call);
}

/// None, when there is no model.
inline service::Vocabulary VocabularyOf(const absl::StatusOr<models::ModelPtr>& model) {
  return model.ok() ? service::VocabularyOf(**model) : service::Vocabulary();
}

/// Parses a message of `bytes` and translates it. The bytes are shared, not copied.
template <class Message, class Translate>
auto ParseLater(const grpc::ByteBuffer& bytes, size_t max_bytes, Translate translate) {
  return [bytes, max_bytes,
          translate = std::move(translate)]() mutable -> decltype(translate(Message())) {
    Message message;
    if (absl::Status status = ParseMessage(bytes, max_bytes, message); !status.ok()) return status;
    return translate(std::move(message));
  };
}

}  // namespace fmaserver::rpc
