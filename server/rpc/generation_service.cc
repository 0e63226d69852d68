#include "server/rpc/generation_service.h"

#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "server/rpc/from_wire.h"
#include "server/rpc/inflate.h"
#include "server/rpc/stream_reactor.h"
#include "server/rpc/streamed_request.h"
#include "server/rpc/to_wire.h"
#include "server/rpc/unary.h"
#include "server/service/generation.h"
#include "server/service/scoring.h"

namespace fmaserver::rpc {
namespace {

using GenerateReactor = StreamReactor<service::GenerateEvent, service::Generation>;
using ScoreReactor = StreamReactor<service::ScoreEvent, service::Scoring>;

struct Translate {
  service::Vocabulary vocabulary;
  template <class Message>
  auto operator()(Message message) const {
    return FromWire(std::move(message), vocabulary);
  }
};

}  // namespace

template <class Message>
grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::StreamGeneration(
    Context& context, const Bytes& request, const service::CallKind& kind,
    std::initializer_list<int> model_path) {
  const auto call = BeginCall(service_, kind, context);
  const auto model = ModelOf(service_, *call, request, model_path);
  const service::Vocabulary vocabulary = VocabularyOf(model);
  return GenerateReactor::Open(
      context,
      [vocabulary](const service::GenerateEvent& event) {
        return SerializeMessage(ToWire(event, vocabulary.tokenizer.get()));
      },
      [&](auto wire) {
        return service::Generation::Start(
            service_, model, call, std::move(wire), BytesToRead(request),
            ParseLater<Message>(request, call->limits().request_bytes, Translate{vocabulary}));
      });
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::Generate(Context* context,
                                                                        const Bytes* request) {
  return StreamGeneration<v1::GenerateRequest>(*context, *request, service::kGenerate,
                                               {v1::GenerateRequest::kModelFieldNumber});
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::Chat(Context* context,
                                                                    const Bytes* request) {
  return StreamGeneration<v1::ChatRequest>(
      *context, *request, service::kChat,
      {v1::ChatRequest::kOptionsFieldNumber, v1::GenerateRequest::kModelFieldNumber});
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::Score(Context* context,
                                                                     const Bytes* request) {
  const auto call = BeginCall(service_, service::kScore, *context);
  const auto model = ModelOf(service_, *call, *request, {v1::ScoreRequest::kModelFieldNumber});
  const service::Vocabulary vocabulary = VocabularyOf(model);
  return ScoreReactor::Open(
      *context,
      [vocabulary](const service::ScoreEvent& event) {
        return SerializeMessage(ToWire(event, vocabulary.tokenizer.get()));
      },
      [&](auto wire) {
        return service::Scoring::Start(
            service_, model, call, std::move(wire), BytesToRead(*request),
            ParseLater<v1::ScoreRequest>(*request, call->limits().request_bytes,
                                         Translate{vocabulary}));
      });
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(Context* context, const Bytes* request,
                                                      Bytes* response) {
  return AnswerUnary<v1::TokenizeRequest>(
      service_, service::kTokenize, {*context, *request, *response},
      [&](auto task) { return service_.Read(BytesToRead(*request), std::move(task)); },
      [this](service::Call& call, const auto& message) -> absl::StatusOr<Bytes> {
        const auto model = service_.Find(message.model(), call);
        if (!model.ok()) return model.status();
        const service::Vocabulary vocabulary = VocabularyOf(model);
        const auto tokens = service::Tokenize(call, message.text(), vocabulary);
        if (!tokens.ok()) return tokens.status();
        return SerializeTokens(*tokens, *vocabulary.tokenizer);
      });
}

grpc::ServerUnaryReactor* GenerationService::Detokenize(Context* context, const Bytes* request,
                                                        Bytes* response) {
  return AnswerUnary<v1::DetokenizeRequest>(
      service_, service::kDetokenize, {*context, *request, *response},
      [&](auto task) { return service_.Read(BytesToRead(*request), std::move(task)); },
      [this](service::Call& call, const auto& message) -> absl::StatusOr<v1::DetokenizeResponse> {
        const auto model = service_.Find(message.model(), call);
        if (!model.ok()) return model.status();
        const auto& ids = message.token_ids();
        auto text =
            service::Detokenize(call, std::span(ids.data(), ids.size()), VocabularyOf(model));
        if (!text.ok()) return text.status();
        v1::DetokenizeResponse answer;
        answer.set_text(*std::move(text));
        return answer;
      });
}

grpc::ServerUnaryReactor* GenerationService::GetModel(Context* context, const Bytes* request,
                                                      Bytes* response) {
  return AnswerUnary<v1::GetModelRequest>(
      service_, service::kGetModel, {*context, *request, *response}, AtOnce,
      [this](service::Call& call, const auto& message) -> absl::StatusOr<v1::Model> {
        const auto model = service_.Find(message.model(), call);
        if (!model.ok()) return model.status();
        return DescribeModel(**model, service_.policy().limits.share);
      });
}

grpc::ServerUnaryReactor* GenerationService::ListModels(Context* context, const Bytes* request,
                                                        Bytes* response) {
  return AnswerUnary<v1::ListModelsRequest>(
      service_, service::kListModels, {*context, *request, *response}, AtOnce,
      [this](service::Call& /*call*/, const auto& /*message*/) {
        v1::ListModelsResponse answer;
        for (const models::ModelPtr& model : service_.models().List()) {
          *answer.add_models() = DescribeModel(*model, service_.policy().limits.share);
        }
        return absl::StatusOr<v1::ListModelsResponse>(std::move(answer));
      });
}

}  // namespace fmaserver::rpc
