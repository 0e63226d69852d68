// Compressed requests to the health service, which is gRPC's own.
#pragma once

#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <vector>

namespace fmaserver::rpc {

/// For ServerBuilder: inflates them, as gRPC was told not to (inflate.h), up to the few bytes that
/// a name has.
std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
InflatedHealthRequests();

}  // namespace fmaserver::rpc
