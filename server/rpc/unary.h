// A unary call in raw bytes; see byte_buffer.h for why.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "absl/status/status.h"
#include "server/rpc/byte_buffer.h"
#include "server/rpc/call.h"
#include "server/rpc/status.h"

namespace fmaserver::rpc {

/// Parses a `Request`, lets `answer(call, request)` turn it into absl::StatusOr<response>, and
/// finishes the call; one that is not admitted is not even parsed.
template <class Request, class Answer>
void FinishUnary(Call& call, grpc::ServerUnaryReactor& reactor,
                 const grpc::ByteBuffer& request_bytes, grpc::ByteBuffer& response_bytes,
                 const Answer& answer) {
  Request request;
  absl::Status status = call.admission();
  if (status.ok()) status = ParseMessage(request_bytes, request);
  if (status.ok()) {
    const auto response = answer(call, request);
    status = response.status();
    if (response.ok()) response_bytes = SerializeMessage(*response);
  }
  call.SetStatus(status);
  reactor.Finish(ToGrpcStatus(status));
}

}  // namespace fmaserver::rpc
