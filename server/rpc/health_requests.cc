#include "server/rpc/health_requests.h"

#include <grpcpp/support/byte_buffer.h>

#include <string_view>

#include "server/rpc/inflate.h"

namespace fmaserver::rpc {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerRpcInfo;

class HealthInterceptor final : public Interceptor {
 public:
  void Intercept(InterceptorBatchMethods* methods) override {
    constexpr size_t kMaxBytes = 4096;
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE)) {
      // The service takes its requests as bytes.
      auto* request = static_cast<grpc::ByteBuffer*>(methods->GetRecvMessage());
      if (request != nullptr && request->Valid()) {
        // One that is too long stays as it is, and is no health request.
        if (const auto inflated = Inflate(*request, kMaxBytes); inflated.ok()) *request = *inflated;
      }
    }
    methods->Proceed();
  }
};

class HealthInterceptors final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  Interceptor* CreateServerInterceptor(ServerRpcInfo* call) override {
    const bool health = std::string_view(call->method()).starts_with("/grpc.health.v1.Health/");
    return health ? new HealthInterceptor() : nullptr;
  }
};

}  // namespace

std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
InflatedHealthRequests() {
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> factories;
  factories.push_back(std::make_unique<HealthInterceptors>());
  return factories;
}

}  // namespace fmaserver::rpc
