#include "server/rpc/begin_call.h"

#include <string>
#include <utility>

namespace fmaserver::rpc {
namespace {

std::string Find(const grpc::ServerContextBase& context, const char* key) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(key);
  return found == metadata.end() ? std::string()
                                 : std::string(found->second.data(), found->second.size());
}

}  // namespace

std::shared_ptr<service::Call> BeginCall(service::Service& service, const service::CallKind& kind,
                                         grpc::CallbackServerContext& context) {
  auto call = service.Begin(kind, {.authorization = Find(context, "authorization"),
                                   .traceparent = Find(context, "traceparent"),
                                   .request_id = Find(context, "x-request-id"),
                                   .peer = context.peer()});
  context.AddInitialMetadata("x-request-id", call->request_id());
  return call;
}

}  // namespace fmaserver::rpc
