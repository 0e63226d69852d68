#include "server/vllm/inference_service.h"

#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "server/rpc/begin_call.h"
#include "server/rpc/inflate.h"
#include "server/rpc/stream_reactor.h"
#include "server/rpc/streamed_request.h"
#include "server/service/generation.h"
#include "server/vllm/from_wire.h"
#include "server/vllm/outputs.h"

namespace fmaserver::vllm {
namespace {

using Reactor = rpc::StreamReactor<service::GenerateEvent, service::Generation>;
using WireRequest = ::vllm::GenerateRequest;

/// What a call has beside the one of the service; the stream's encoder holds it.
struct Extras {
  explicit Extras(std::shared_ptr<LiveRequests> all) : live(std::move(all)) {}
  LiveRequests::Entry live;
  Outputs outputs;
};

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* InferenceService::GenerateStream(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  const auto call = service_.Begin(service::kGenerateStream, rpc::MetadataOf(*context));
  // Behind the stream, because with a header of its own a refusal would not come alone.
  context->AddTrailingMetadata("x-request-id", call->request_id());
  const auto model = rpc::ModelOf(service_, *call, *request, {WireRequest::kModelFieldNumber});
  const auto extras = std::make_shared<Extras>(live_);
  auto translate = [call, extras, vocabulary = rpc::VocabularyOf(model)](
                       WireRequest message) -> absl::StatusOr<service::GenerateRequest> {
    extras->live.SetName(call->tenant(), message.request_id());
    auto read = FromWire(std::move(message), vocabulary);
    if (!read.ok()) return read.status();
    extras->outputs.wanted = read->wanted;
    return std::move(read->generate);
  };
  return Reactor::Open(
      *context,
      [extras](const service::GenerateEvent& event) -> std::optional<grpc::ByteBuffer> {
        const auto message = extras->outputs.After(event);
        if (!message.has_value()) return std::nullopt;
        return rpc::SerializeMessage(*message);
      },
      [&](auto wire) {
        auto generation = service::Generation::Start(
            service_, model, call, std::move(wire), rpc::BytesToRead(*request),
            rpc::ParseLater<WireRequest>(*request, call->limits().request_bytes, translate));
        extras->live.SetCall(generation);
        return generation;
      },
      rpc::Headers::kWithFirstMessage);
}

}  // namespace fmaserver::vllm
