#include "server/rpc/generation_service.h"

#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "server/rpc/from_wire.h"
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
auto ParseLater(const grpc::ByteBuffer& bytes, const service::Vocabulary& vocabulary) {
  return [bytes, vocabulary]() -> decltype(FromWire(Message(), vocabulary)) {
    Message message;
    if (absl::Status status = ParseMessage(bytes, message); !status.ok()) return status;
    return FromWire(std::move(message), vocabulary);
  };
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::Generate(Context* context,
                                                                        const Bytes* request) {
  const service::Vocabulary vocabulary = service::VocabularyOf(service_.engine());
  return GenerateReactor::Open(
      *context,
      [vocabulary](const service::GenerateEvent& event) {
        return SerializeMessage(ToWire(event, vocabulary.tokenizer));
      },
      [&](auto wire) {
        return service::Generation::Start(
            service_, BeginCall(service_, service::kGenerate, *context), std::move(wire),
            request->Length(), ParseLater<v1::GenerateRequest>(*request, vocabulary));
      });
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::Score(Context* context,
                                                                     const Bytes* request) {
  const service::Vocabulary vocabulary = service::VocabularyOf(service_.engine());
  return ScoreReactor::Open(
      *context,
      [vocabulary](const service::ScoreEvent& event) {
        return SerializeMessage(ToWire(event, vocabulary.tokenizer));
      },
      [&](auto wire) {
        return service::Scoring::Start(service_, BeginCall(service_, service::kScore, *context),
                                       std::move(wire), request->Length(),
                                       ParseLater<v1::ScoreRequest>(*request, vocabulary));
      });
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(Context* context, const Bytes* request,
                                                      Bytes* response) {
  return AnswerUnary<v1::TokenizeRequest>(
      service_, service::kTokenize, {*context, *request, *response},
      [&](auto task) { return service_.Read(request->Length(), std::move(task)); },
      [vocabulary = service::VocabularyOf(service_.engine())](
          service::Call& call, const auto& message) -> absl::StatusOr<Bytes> {
        const auto tokens = service::Tokenize(call, message.text(), vocabulary);
        if (!tokens.ok()) return tokens.status();
        return SerializeTokens(*tokens, *vocabulary.tokenizer);
      });
}

grpc::ServerUnaryReactor* GenerationService::Detokenize(Context* context, const Bytes* request,
                                                        Bytes* response) {
  return AnswerUnary<v1::DetokenizeRequest>(
      service_, service::kDetokenize, {*context, *request, *response},
      [&](auto task) { return service_.Read(request->Length(), std::move(task)); },
      [vocabulary = service::VocabularyOf(service_.engine())](
          service::Call& call, const auto& message) -> absl::StatusOr<v1::DetokenizeResponse> {
        const auto& ids = message.token_ids();
        auto text = service::Detokenize(call, std::span(ids.data(), ids.size()), vocabulary);
        if (!text.ok()) return text.status();
        v1::DetokenizeResponse answer;
        answer.set_text(*std::move(text));
        return answer;
      });
}

grpc::ServerUnaryReactor* GenerationService::GetModel(Context* context, const Bytes* request,
                                                      Bytes* response) {
  return AnswerUnary<v1::GetModelRequest>(
      service_, service::kGetModel, {*context, *request, *response},
      [](auto task) {
        task();
        return absl::OkStatus();
      },
      [this](service::Call& /*call*/, const auto& /*message*/) {
        return absl::StatusOr<v1::Model>(DescribeModel(service_.engine()));
      });
}

}  // namespace fmaserver::rpc
