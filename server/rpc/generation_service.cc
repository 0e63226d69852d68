#include "server/rpc/generation_service.h"

#include <functional>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "server/rpc/from_wire.h"
#include "server/rpc/inflate.h"
#include "server/rpc/model_field.h"
#include "server/rpc/stream_reactor.h"
#include "server/rpc/to_wire.h"
#include "server/rpc/unary.h"
#include "server/service/generation.h"
#include "server/service/scoring.h"

namespace fmaserver::rpc {
namespace {

using GenerateReactor = StreamReactor<service::GenerateEvent, service::Generation>;
using ScoreReactor = StreamReactor<service::ScoreEvent, service::Scoring>;

/// Parses a message of `bytes` and translates it. The bytes are shared, not copied.
template <class Message>
auto ParseLater(const grpc::ByteBuffer& bytes, size_t max_bytes,
                const service::Vocabulary& vocabulary) {
  return [bytes, max_bytes, vocabulary]() -> decltype(FromWire(Message(), vocabulary)) {
    Message message;
    if (absl::Status status = ParseMessage(bytes, max_bytes, message); !status.ok()) return status;
    return FromWire(std::move(message), vocabulary);
  };
}

/// None, when there is no model.
service::Vocabulary VocabularyOf(const absl::StatusOr<models::ModelPtr>& model) {
  return model.ok() ? service::VocabularyOf(**model) : service::Vocabulary();
}

absl::Status AtOnce(const std::function<void()>& task) {
  task();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<models::ModelPtr> GenerationService::ModelOf(service::Call& call,
                                                            const Bytes& request,
                                                            std::initializer_list<int> path) {
  if (!call.admission().ok()) return call.admission();
  return service_.Find(
      ModelField(request, call.limits().request_bytes, std::span(path.begin(), path.size())), call);
}

template <class Message>
grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::StreamGeneration(
    Context& context, const Bytes& request, const service::CallKind& kind,
    std::initializer_list<int> model_path) {
  const auto call = BeginCall(service_, kind, context);
  const auto model = ModelOf(*call, request, model_path);
  const service::Vocabulary vocabulary = VocabularyOf(model);
  return GenerateReactor::Open(
      context,
      [vocabulary](const service::GenerateEvent& event) {
        return SerializeMessage(ToWire(event, vocabulary.tokenizer.get()));
      },
      [&](auto wire) {
        return service::Generation::Start(
            service_, model, call, std::move(wire), BytesToRead(request),
            ParseLater<Message>(request, call->limits().request_bytes, vocabulary));
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
  const auto model = ModelOf(*call, *request, {v1::ScoreRequest::kModelFieldNumber});
  const service::Vocabulary vocabulary = VocabularyOf(model);
  return ScoreReactor::Open(
      *context,
      [vocabulary](const service::ScoreEvent& event) {
        return SerializeMessage(ToWire(event, vocabulary.tokenizer.get()));
      },
      [&](auto wire) {
        return service::Scoring::Start(
            service_, model, call, std::move(wire), BytesToRead(*request),
            ParseLater<v1::ScoreRequest>(*request, call->limits().request_bytes, vocabulary));
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
        return DescribeModel(**model);
      });
}

grpc::ServerUnaryReactor* GenerationService::ListModels(Context* context, const Bytes* request,
                                                        Bytes* response) {
  return AnswerUnary<v1::ListModelsRequest>(
      service_, service::kListModels, {*context, *request, *response}, AtOnce,
      [this](service::Call& /*call*/, const auto& /*message*/) {
        v1::ListModelsResponse answer;
        for (const models::ModelPtr& model : service_.models().List()) {
          *answer.add_models() = DescribeModel(*model);
        }
        return absl::StatusOr<v1::ListModelsResponse>(std::move(answer));
      });
}

}  // namespace fmaserver::rpc
