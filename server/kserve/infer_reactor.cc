#include "server/kserve/infer_reactor.h"

#include <utility>

#include "server/kserve/start_call.h"
#include "server/rpc/begin_call.h"
#include "server/rpc/byte_buffer.h"
#include "server/rpc/status.h"

namespace fmaserver::kserve {

InferReactor* InferReactor::Open(service::Service& service, grpc::CallbackServerContext& context,
                                 const grpc::ByteBuffer& request, grpc::ByteBuffer& response) {
  const std::shared_ptr<InferReactor> self(new InferReactor(context, response));
  self->call_ = StartCall(service, rpc::BeginCall(service, service::kModelInfer, context), request,
                          self->answers_, self);
  return self.get();
}

bool InferReactor::Write(const service::GenerateEvent& event) {
  if (const auto answer = answers_.After(event)) response_ = rpc::SerializeMessage(*answer);
  return false;
}

void InferReactor::Finish(const absl::Status& status) {
  ServerUnaryReactor::Finish(rpc::ToGrpcStatus(status));
}

}  // namespace fmaserver::kserve
