#include "server/openai/token_routes.h"

#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/refusal.h"
#include "base/utf8.h"
#include "server/openai/chat_request.h"
#include "server/openai/choice_json.h"
#include "server/openai/errors.h"
#include "server/openai/read_job.h"
#include "server/openai/value.h"
#include "server/service/chat.h"
#include "server/service/tokens.h"

namespace fmaserver::openai {
namespace {

using Fields = nlohmann::json;
using Task = absl::StatusOr<Json> (*)(service::Call&, const models::ServedModel&, const Fields&);

/// Of an optional field.
template <class T>
absl::Status ReadOptional(const Fields& body, std::string_view name, T& place) {
  const auto found = body.find(std::string(name));
  if (found == body.end() || found->is_null()) return absl::OkStatus();
  return Value{name, *found}.To(place);
}

/// The control token that `text` spells and nothing besides: so clients look up the texts that
/// /tokenizer_info gave them. Elsewhere a text that spells one stays text.
std::optional<int32_t> ControlToken(const model::Tokenizer& tokenizer, std::string_view text) {
  constexpr size_t kMaxControlBytes = 256;
  if (text.empty() || text.size() > kMaxControlBytes) return std::nullopt;
  const auto tokens = tokenizer.Encode(text, model::ControlTokens::kAreFound);
  if (!tokens.ok() || tokens->size() != 1) return std::nullopt;
  return tokenizer.ControlText(tokens->front()) == text ? std::optional(tokens->front())
                                                        : std::nullopt;
}

absl::StatusOr<std::vector<int32_t>> Encode(service::Call& call, const Fields& body,
                                            const service::Vocabulary& vocabulary) {
  if (body.contains("messages")) {
    service::Conversation messages;
    absl::Status status = ReadMessages({"messages", body["messages"]}, messages);
    if (!status.ok()) return status;
    auto tokens = service::ChatTokens(messages, vocabulary, call.limits());
    if (tokens.ok()) call.ChargePrompt(std::ssize(*tokens));
    return tokens;
  }
  std::string text;
  bool framed = true;
  absl::Status status = Value{"prompt", body.value("prompt", Fields())}.To(text);
  status.Update(ReadOptional(body, "add_special_tokens", framed));
  if (!status.ok()) return status;
  auto tokens = service::Tokenize(call, text, vocabulary);
  if (!tokens.ok()) return tokens;
  if (const auto control = ControlToken(*vocabulary.tokenizer, text))
    tokens = std::vector{*control};
  if (framed) service::Frame(*vocabulary.tokenizer, *tokens);
  return tokens;
}

absl::StatusOr<Json> Tokenize(service::Call& call, const models::ServedModel& model,
                              const Fields& body) {
  const service::Vocabulary vocabulary = service::VocabularyOf(model);
  bool with_texts = false;
  if (absl::Status status = ReadOptional(body, "return_token_strs", with_texts); !status.ok()) {
    return status;
  }
  const auto tokens = Encode(call, body, vocabulary);
  if (!tokens.ok()) return tokens.status();
  Json json;
  json["count"] = tokens->size();
  json["max_model_len"] = MaxLengthOf(model);
  json["tokens"] = *tokens;
  json["token_strs"] = nullptr;
  if (!with_texts) return json;
  Json texts = Json::array();
  for (const int32_t token : *tokens) {
    texts.push_back(ReplaceInvalidUtf8(vocabulary.tokenizer->TokenBytes(token)));
  }
  json["token_strs"] = std::move(texts);
  return json;
}

absl::StatusOr<Json> Detokenize(service::Call& call, const models::ServedModel& model,
                                const Fields& body) {
  const service::Vocabulary vocabulary = service::VocabularyOf(model);
  std::vector<int32_t> ids;
  absl::Status status = Value{"tokens", body.value("tokens", Fields())}.ToIds(vocabulary, ids);
  if (!status.ok()) return status;
  const auto text =
      service::Detokenize(call, std::vector<uint32_t>(ids.begin(), ids.end()), vocabulary);
  if (!text.ok()) return text.status();
  Json json;
  json["prompt"] = *text;
  return json;
}

absl::StatusOr<Json> Do(service::Service& service, const Request& request, Task task) {
  const auto addressed = ParseAddressed(service, request);
  if (!addressed.ok()) return addressed.status();
  return task(*request.call, *addressed->model, addressed->body);
}

Response ResponseOf(const absl::StatusOr<Json>& answer) {
  return answer.ok() ? Response{.body = TextOf(*answer)} : ErrorResponse(answer.status());
}

/// Texts are encoded on a thread for reading.
Handler Later(Hall& hall, Task task) {
  return [&hall, task](Request request, std::shared_ptr<Responder> responder) {
    const auto call = request.call;
    const size_t bytes = request.body.size();
    const absl::Status status =
        hall.service.Read(bytes, [&hall, task, request = std::move(request), responder]() mutable {
          const auto answer = Do(hall.service, request, task);
          request.call->SetStatus(answer.status());
          hall.loop.Post([response = ResponseOf(answer), responder = std::move(responder)] {
            responder->Answer(response);
          });
        });
    if (!status.ok()) Refuse(status, *call, *responder);
  };
}

Json ControlTextOf(const model::Tokenizer& tokenizer, std::span<const int32_t> ids) {
  const std::string text = ids.empty() ? std::string() : tokenizer.ControlText(ids.front());
  return text.empty() ? Json() : Json(text);
}

/// What clients ask of a tokenizer before they use it.
absl::StatusOr<Json> Describe(const models::ServedModel& model) {
  const model::Tokenizer* tokenizer = model.runner().tokenizer().get();
  if (tokenizer == nullptr) {
    return Refusal("the model's tokenizer", Words{"missing"}, "models that have one",
                   absl::StatusCode::kNotFound);
  }
  Json json;
  json["tokenizer_class"] = tokenizer->Kind();
  json["vocab_size"] = tokenizer->VocabSize();
  json["bos_token"] = ControlTextOf(*tokenizer, tokenizer->Frame().before);
  json["eos_token"] = ControlTextOf(*tokenizer, model.runner().config().eos_token_ids);
  json["pad_token"] = nullptr;
  return json;
}

}  // namespace

void AddTokenRoutes(Hall& hall, Router& router) {
  router.Add({"POST", "/tokenize", &service::kOpenAiTokenize, Later(hall, Tokenize)});
  router.Add({"POST", "/detokenize", &service::kOpenAiDetokenize, Later(hall, Detokenize)});
  router.Add({"GET", "/tokenizer_info", &service::kOpenAiModels,
              [&hall](const Request& request, const std::shared_ptr<Responder>& responder) {
                const auto model = hall.service.Find("", *request.call);
                const auto answer = model.ok() ? Describe(**model) : model.status();
                request.call->SetStatus(answer.status());
                responder->Answer(ResponseOf(answer));
              }});
}

}  // namespace fmaserver::openai
