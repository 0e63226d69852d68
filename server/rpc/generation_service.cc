#include "server/rpc/generation_service.h"

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/rpc/from_wire.h"
#include "server/rpc/generate_call.h"
#include "server/rpc/score_call.h"
#include "server/rpc/to_wire.h"
#include "server/rpc/unary.h"

namespace fmaserver::rpc {
namespace {

absl::StatusOr<v1::TokenizeResponse> AnswerTokenize(const v1::TokenizeRequest& request,
                                                    const Vocabulary& vocabulary) {
  auto tokens = TokensFromText(request.text(), vocabulary);
  if (!tokens.ok()) return tokens.status();
  v1::TokenizeResponse response;
  response.mutable_token_ids()->Add(tokens->begin(), tokens->end());
  for (const int32_t id : *tokens) response.add_tokens(vocabulary.tokenizer->TokenBytes(id));
  return response;
}

absl::StatusOr<v1::DetokenizeResponse> AnswerDetokenize(const v1::DetokenizeRequest& request,
                                                        const Vocabulary& vocabulary) {
  if (vocabulary.tokenizer == nullptr) {
    return absl::FailedPreconditionError("token_ids: this model has no tokenizer to decode with");
  }
  auto tokens = TokensFromIds("token_ids", request.token_ids(), vocabulary);
  if (!tokens.ok()) return tokens.status();
  auto text = vocabulary.tokenizer->Decode(*tokens);
  if (!text.ok()) return text.status();
  v1::DetokenizeResponse response;
  response.set_text(*std::move(text));
  return response;
}

template <class Request, class Answer>
grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context, const CallPolicy& policy,
                                const char* method, const grpc::ByteBuffer& request,
                                grpc::ByteBuffer& response, const Answer& answer) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  FinishUnary<Request>(
      *BeginCall(policy, method, *context), *reactor, request, response,
      [&](const Call& /*call*/, const Request& message) { return answer(message); });
  return reactor;
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::Generate(Context* context,
                                                                        const Bytes* request) {
  return GenerateCall::Start(services_, BeginCall(services_.policy, "Generate", *context),
                             *request);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::Score(Context* context,
                                                                     const Bytes* request) {
  return ScoreCall::Start(services_, BeginCall(services_.policy, "Score", *context), *request);
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(Context* context, const Bytes* request,
                                                      Bytes* response) {
  return Unary<v1::TokenizeRequest>(
      context, services_.policy, "Tokenize", *request, *response,
      [this](const auto& message) { return AnswerTokenize(message, VocabularyOf(engine_)); });
}

grpc::ServerUnaryReactor* GenerationService::Detokenize(Context* context, const Bytes* request,
                                                        Bytes* response) {
  return Unary<v1::DetokenizeRequest>(
      context, services_.policy, "Detokenize", *request, *response,
      [this](const auto& message) { return AnswerDetokenize(message, VocabularyOf(engine_)); });
}

grpc::ServerUnaryReactor* GenerationService::GetModel(Context* context, const Bytes* request,
                                                      Bytes* response) {
  return Unary<v1::GetModelRequest>(context, services_.policy, "GetModel", *request, *response,
                                    [this](const auto& /*message*/) {
                                      return absl::StatusOr<v1::Model>(DescribeModel(engine_));
                                    });
}

}  // namespace fmaserver::rpc
