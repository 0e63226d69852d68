#include "server/kserve/start_call.h"

#include <utility>

#include "server/rpc/inflate.h"
#include "server/rpc/streamed_request.h"

namespace fmaserver::kserve {

using inference::ModelInferRequest;

std::shared_ptr<service::Generation> StartCall(service::Service& service,
                                               std::shared_ptr<service::Call> call,
                                               const grpc::ByteBuffer& request, Answers& answers,
                                               std::shared_ptr<service::Generation::Wire> wire) {
  const size_t max_bytes = call->limits().request_bytes;
  const auto model =
      rpc::ModelOf(service, *call, request, {ModelInferRequest::kModelNameFieldNumber});
  if (model.ok()) answers.form.model = (*model)->name();
  // Together they live as long as the call may parse.
  auto translate = [wire, &answers,
                    vocabulary = rpc::VocabularyOf(model)](ModelInferRequest message) {
    return FromWire(std::move(message), vocabulary, answers.form);
  };
  return service::Generation::Start(
      service, model, std::move(call), wire, rpc::BytesToRead(request),
      rpc::ParseLater<ModelInferRequest>(request, max_bytes, std::move(translate)));
}

}  // namespace fmaserver::kserve
