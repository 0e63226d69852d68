#include "server/rpc/encoders_service.h"

#include <utility>

#include "server/rpc/begin_call.h"
#include "server/rpc/from_wire.h"
#include "server/rpc/inflate.h"
#include "server/rpc/stream_reactor.h"
#include "server/rpc/streamed_request.h"
#include "server/rpc/to_wire.h"
#include "server/service/encoding.h"

namespace fmaserver::rpc {
namespace {

using EncodeReactor = StreamReactor<service::EncodeEvent, service::Encoding>;

/// Answers a call whose message is a `Request`; `to_wire` makes messages of events.
template <class Request, class ToMessage>
grpc::ServerWriteReactor<grpc::ByteBuffer>* Open(service::Service& service,
                                                 const service::CallKind& kind,
                                                 grpc::CallbackServerContext& context,
                                                 const grpc::ByteBuffer& request,
                                                 ToMessage to_wire) {
  const auto call = BeginCall(service, kind, context);
  const auto model = ModelOf(service, *call, request, {Request::kModelFieldNumber});
  const service::Vocabulary vocabulary = VocabularyOf(model);
  return EncodeReactor::Open(
      context,
      [vocabulary, to_wire](const service::EncodeEvent& event) {
        return SerializeMessage(to_wire(event, vocabulary.tokenizer.get()));
      },
      [&](auto wire) {
        return service::Encoding::Start(service, model, call, std::move(wire), BytesToRead(request),
                                        ParseLater<Request>(request, call->limits().request_bytes,
                                                            [vocabulary](Request message) {
                                                              return FromWire(std::move(message),
                                                                              vocabulary);
                                                            }));
      });
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* EncodersService::Embed(Context* context,
                                                                   const Bytes* request) {
  return Open<v1::EmbedRequest>(service_, service::kEmbed, *context, *request,
                                [](const service::EncodeEvent& event, const model::Tokenizer*) {
                                  return EmbeddingToWire(event);
                                });
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* EncodersService::FillMask(Context* context,
                                                                      const Bytes* request) {
  return Open<v1::FillMaskRequest>(service_, service::kFillMask, *context, *request, FilledToWire);
}

}  // namespace fmaserver::rpc
