#include "server/rpc/generation_service.h"

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/rpc/byte_buffer.h"
#include "server/rpc/from_wire.h"
#include "server/rpc/generate_call.h"
#include "server/rpc/score_call.h"
#include "server/rpc/status.h"
#include "server/rpc/to_wire.h"

namespace fmaserver {
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

// Parses a `Request`, lets `answer` turn it into absl::StatusOr<response>, and finishes the call.
template <class Request, class Answer>
grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context,
                                const grpc::ByteBuffer& request_bytes,
                                grpc::ByteBuffer& response_bytes, const Answer& answer) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  Request request;
  absl::Status status = ParseMessage(request_bytes, request);
  if (status.ok()) {
    const auto response = answer(request);
    status = response.status();
    if (response.ok()) response_bytes = SerializeMessage(*response);
  }
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::Generate(Context* /*context*/,
                                                                        const Bytes* request) {
  return GenerateCall::Start(services_, kDefaultTenant, *request);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerationService::Score(Context* /*context*/,
                                                                     const Bytes* request) {
  return ScoreCall::Start(engine_, *request);
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(Context* context, const Bytes* request,
                                                      Bytes* response) {
  return Unary<v1::TokenizeRequest>(context, *request, *response, [this](const auto& message) {
    return AnswerTokenize(message, VocabularyOf(engine_));
  });
}

grpc::ServerUnaryReactor* GenerationService::Detokenize(Context* context, const Bytes* request,
                                                        Bytes* response) {
  return Unary<v1::DetokenizeRequest>(context, *request, *response, [this](const auto& message) {
    return AnswerDetokenize(message, VocabularyOf(engine_));
  });
}

grpc::ServerUnaryReactor* GenerationService::GetModel(Context* context, const Bytes* request,
                                                      Bytes* response) {
  return Unary<v1::GetModelRequest>(context, *request, *response, [this](const auto& /*message*/) {
    return absl::StatusOr<v1::Model>(DescribeModel(engine_));
  });
}

}  // namespace fmaserver
