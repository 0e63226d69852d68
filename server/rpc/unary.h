// A unary call in raw bytes; see byte_buffer.h for why.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/begin_call.h"
#include "server/rpc/byte_buffer.h"
#include "server/rpc/deadline.h"
#include "server/rpc/status.h"
#include "server/service/service.h"

namespace fmaserver::rpc {

/// What gRPC gives a method; it keeps the bytes until the call is finished.
struct UnaryCall {
  grpc::CallbackServerContext& context;
  const grpc::ByteBuffer& request;
  grpc::ByteBuffer& response;
};

/// Runs a task, here or on another thread, or refuses it.
using Schedule = std::function<absl::Status(std::function<void()>)>;

inline absl::Status AtOnce(const std::function<void()>& task) {
  task();
  return absl::OkStatus();
}

/// What a method answers is absl::StatusOr of a message, or of its bytes.
inline grpc::ByteBuffer Serialized(const grpc::ByteBuffer& bytes) { return bytes; }
inline grpc::ByteBuffer Serialized(const google::protobuf::MessageLite& message) {
  return SerializeMessage(message);
}

/// Parses a `Request` and lets `answer(call, request)` answer it, both where `schedule` says. A
/// call that is not admitted is not even parsed.
template <class Request, class Answer>
grpc::ServerUnaryReactor* AnswerUnary(service::Service& service, const service::CallKind& kind,
                                      const UnaryCall& unary, const Schedule& schedule,
                                      Answer answer) {
  grpc::ServerUnaryReactor* reactor = unary.context.DefaultReactor();
  const std::shared_ptr<service::Call> call = BeginCall(service, kind, unary.context);
  const auto finish = [call, reactor, &context = unary.context,
                       deadline = Deadline(unary.context.deadline())](const absl::Status& status) {
    // An answer that comes too late reaches nobody.
    call->SetStatus(context.IsCancelled() ? deadline.WhyCancelled() : status);
    reactor->Finish(ToGrpcStatus(status));
  };
  const auto run = [call, finish, unary, answer] {
    Request request;
    absl::Status status = ParseMessage(unary.request, call->limits().request_bytes, request);
    if (status.ok()) {
      auto response = answer(*call, request);
      status = response.status();
      if (response.ok()) unary.response = Serialized(*std::move(response));
    }
    finish(status);
  };
  absl::Status status = call->admission();
  if (status.ok()) status = schedule(run);
  if (!status.ok()) finish(status);
  return reactor;
}

}  // namespace fmaserver::rpc
