// Where a call of gRPC becomes a call of the service.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <memory>

#include "server/service/service.h"

namespace fmaserver::rpc {

/// What the caller of `context` says of itself.
service::CallMetadata MetadataOf(const grpc::CallbackServerContext& context);

/// The call that `context` belongs to; its id goes back to the client as "x-request-id".
std::shared_ptr<service::Call> BeginCall(service::Service& service, const service::CallKind& kind,
                                         grpc::CallbackServerContext& context);

}  // namespace fmaserver::rpc
