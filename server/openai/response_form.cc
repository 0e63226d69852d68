#include "server/openai/response_form.h"

#include <array>
#include <charconv>
#include <utility>

#include "base/text.h"

namespace fmaserver::openai {
namespace {

using engine::FinishReason;

/// The shortest decimal number that is this one: 0.7, and not the double nearest to the float.
double Decimal(float number) {
  std::array<char, 32> text{};
  const auto written = std::to_chars(text.data(), text.data() + text.size(), number);
  double decimal = number;
  std::from_chars(text.data(), written.ptr, decimal);
  return decimal;
}

template <class T>
Json OrNull(const std::optional<T>& value) {
  return value.has_value() ? Json(*value) : Json();
}

/// What was read of the input is in the state that is kept.
Json UsageOf(const service::Answered& answered, bool is_kept) {
  const auto written = is_kept ? answered.input_tokens - answered.cached_tokens : 0;
  Json json;
  json["input_tokens"] = answered.input_tokens;
  json["input_tokens_details"] = {{"cached_tokens", answered.cached_tokens},
                                  {"cache_write_tokens", written}};
  json["output_tokens"] = answered.output_tokens;
  json["output_tokens_details"] = {{"reasoning_tokens", 0}};
  json["total_tokens"] = answered.input_tokens + answered.output_tokens;
  return json;
}

const char* CodeOf(const absl::Status& status) {
  if (absl::IsResourceExhausted(status)) return "rate_limit_exceeded";
  return absl::IsInvalidArgument(status) ? "invalid_prompt" : "server_error";
}

}  // namespace

std::string_view StatusOf(const service::Answered& answered) {
  const bool stopped =
      answered.reason == FinishReason::kEos || answered.reason == FinishReason::kStopSequence;
  return stopped ? "completed" : "incomplete";
}

Json TextPart(const std::string& text) {
  Json part;
  part["type"] = "output_text";
  part["text"] = text;
  part["annotations"] = Json::array();
  part["logprobs"] = Json::array();
  return part;
}

std::optional<std::string> InstructionsOf(const std::string& kept) {
  const Json response = Json::parse(kept, nullptr, /*allow_exceptions=*/false);
  if (!response.is_object()) return std::nullopt;
  const Json instructions = response.value("instructions", Json());
  if (!instructions.is_string()) return std::nullopt;
  return instructions.get<std::string>();
}

ResponseForm::ResponseForm(const GenerateJob& job, std::string id, int64_t created)
    : id_(std::move(id)) {
  const ResponseTerms& terms = job.response;
  const engine::GenerateRequest& options = job.request.options;
  base_["id"] = id_;
  base_["object"] = "response";
  base_["created_at"] = created;
  base_["status"] = "in_progress";
  base_["background"] = false;
  base_["error"] = nullptr;
  base_["incomplete_details"] = nullptr;
  base_["instructions"] = OrNull(terms.instructions);
  base_["max_output_tokens"] = options.max_tokens;
  base_["model"] = job.model;
  base_["output"] = Json::array();
  base_["parallel_tool_calls"] = false;
  base_["previous_response_id"] = terms.previous.empty() ? Json() : Json(terms.previous);
  base_["store"] = terms.store;
  base_["temperature"] = Decimal(options.sampling.temperature);
  base_["text"] = {{"format", {{"type", "text"}}}};
  base_["tool_choice"] = "none";
  base_["tools"] = Json::array();
  base_["top_p"] = Decimal(options.sampling.top_p);
  base_["truncation"] = terms.truncation;
  base_["usage"] = nullptr;
  base_["user"] = OrNull(terms.user);
  base_["metadata"] = terms.metadata;
}

std::string ResponseForm::message_id() const {
  return Concat("msg_", id_.substr(id_.find('_') + 1));
}

Json ResponseForm::Message(std::string_view status, const std::string* text) const {
  Json message;
  message["id"] = message_id();
  message["type"] = "message";
  message["status"] = status;
  message["role"] = "assistant";
  message["content"] = text == nullptr ? Json::array() : Json::array({TextPart(*text)});
  return message;
}

Json ResponseForm::Finished(const service::Answered& answered) const {
  Json json = base_;
  json["status"] = StatusOf(answered);
  if (answered.reason == FinishReason::kLength) {
    json["incomplete_details"] = {{"reason", "max_output_tokens"}};
  } else if (answered.reason == FinishReason::kTimeLimit) {
    json["incomplete_details"] = {{"reason", "time_limit"}};
  }
  json["output"] = Json::array({Message(StatusOf(answered), &answered.text)});
  json["usage"] = UsageOf(answered, base_["store"].get<bool>());
  return json;
}

Json ResponseForm::Failed(const absl::Status& status) const {
  Json json = base_;
  json["status"] = "failed";
  json["error"] = {{"code", CodeOf(status)}, {"message", std::string(status.message())}};
  return json;
}

std::string ResponseEvents::Event(std::string_view type, const Json& members) {
  Json event;
  event["type"] = type;
  event["sequence_number"] = number_++;
  event.update(members);
  return Concat("event: ", type, "\n", EventOf(TextOf(event)));
}

Json ResponseEvents::AtText() const {
  Json members;
  members["item_id"] = form_.message_id();
  members["output_index"] = 0;
  members["content_index"] = 0;
  return members;
}

std::string ResponseEvents::Opening() {
  if (std::exchange(opened_, true)) return {};
  std::string events = Event("response.created", {{"response", form_.Running()}});
  events += Event("response.in_progress", {{"response", form_.Running()}});
  events += Event("response.output_item.added",
                  {{"output_index", 0}, {"item", form_.Message("in_progress", nullptr)}});
  Json part = AtText();
  part["part"] = TextPart("");
  return events + Event("response.content_part.added", part);
}

std::string ResponseEvents::Delta(const std::string& text) {
  Json members = AtText();
  members["delta"] = text;
  members["logprobs"] = Json::array();
  std::string events = Opening();
  return events += Event("response.output_text.delta", members);
}

std::string ResponseEvents::Finished(const service::Answered& answered) {
  std::string events = Opening();
  Json text = AtText();
  text["text"] = answered.text;
  text["logprobs"] = Json::array();
  events += Event("response.output_text.done", text);
  Json part = AtText();
  part["part"] = TextPart(answered.text);
  events += Event("response.content_part.done", part);
  events +=
      Event("response.output_item.done",
            {{"output_index", 0}, {"item", form_.Message(StatusOf(answered), &answered.text)}});
  return events +
         Event(Concat("response.", StatusOf(answered)), {{"response", form_.Finished(answered)}});
}

std::string ResponseEvents::Failed(const absl::Status& status) {
  std::string events = Opening();
  return events += Event("response.failed", {{"response", form_.Failed(status)}});
}

}  // namespace fmaserver::openai
