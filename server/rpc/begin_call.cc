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

service::CallMetadata MetadataOf(const grpc::CallbackServerContext& context) {
  return {.authorization = Find(context, "authorization"),
          .traceparent = Find(context, "traceparent"),
          .tracestate = Find(context, "tracestate"),
          .request_id = Find(context, "x-request-id"),
          .peer = context.peer()};
}

std::shared_ptr<service::Call> BeginCall(service::Service& service, const service::CallKind& kind,
                                         grpc::CallbackServerContext& context) {
  auto call = service.Begin(kind, MetadataOf(context));
  context.AddInitialMetadata("x-request-id", call->request_id());
  return call;
}

}  // namespace fmaserver::rpc
