#include "server/openai/chat_request.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::openai {
namespace {

using nlohmann::json;

/// A text, or parts of one.
absl::Status ReadContent(const Value& value, std::span<const char* const> part_types,
                         std::string& content) {
  if (value.json.is_string()) return value.To(content);
  const std::string types = absl::StrJoin(part_types, " or ");
  if (!value.json.is_array()) {
    return value.Refuse(Concat("a text, or a list of parts of type ", types));
  }
  for (size_t i = 0; i < value.json.size(); ++i) {
    const std::string name = Concat(value.name, "[", i, "]");
    const json& part = value.json[i];
    const json type = part.is_object() ? part.value("type", json()) : json();
    const bool is_text = std::ranges::find(part_types, type) != part_types.end() &&
                         part.value("text", json()).is_string();
    if (!is_text) return Value{name, part}.Refuse(Concat("an object with text, of type ", types));
    content += part["text"].get_ref<const std::string&>();
  }
  return absl::OkStatus();
}

constexpr const char* kChatParts[] = {"text"};

constexpr Field kChat[] = {
    {"messages",
     [](const Value& v, GenerateJob& j) {
       return ReadMessages(v, j.prompts.emplace_back().messages.emplace());
     }},
    {"logprobs", [](const Value& v, GenerateJob& j) { return v.To(j.logprobs); }},
    {"top_logprobs", [](const Value& v, GenerateJob& j) { return v.To(j.top_logprobs); }},
    {"max_completion_tokens",
     [](const Value& v, GenerateJob& j) { return v.To(j.max_completion_tokens.emplace()); }},
};

constexpr Field kAbsentFromChat[] = {
    {"add_generation_prompt", MustBeTrue},
    {"continue_final_message", MustBeFalse},
    {"echo", MustBeFalse},
    {"chat_template", MustBeUnset},
    {"chat_template_kwargs", MustBeUnset},
    {"documents", MustBeUnset},
};

absl::Status CompleteChat(GenerateJob& job) {
  if (job.prompts.empty()) {
    return Refusal("messages", Words{"missing"}, "a list of one message or more");
  }
  if (job.top_logprobs != 0 && !job.logprobs) {
    return Refusal("top_logprobs", job.top_logprobs, "0, unless logprobs is true");
  }
  if (job.max_completion_tokens.has_value()) {
    job.request.options.max_tokens = *job.max_completion_tokens;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadMessage(const Value& value, std::span<const char* const> part_types,
                         chat::Message& message) {
  if (!value.json.is_object()) return value.Refuse("an object with role and content");
  const auto at = [&](const char* key) { return Concat(value.name, ".", key); };
  const auto member = [&](const char* key) { return value.json.value(key, json()); };
  const json role = member("role");
  absl::Status status = Value{at("role"), role}.To(message.role);
  if (!status.ok()) return status;
  // Newer clients call the system so; templates do not.
  if (message.role == "developer") message.role = "system";
  const json calls = member("tool_calls");
  if (!calls.is_null() && !calls.empty()) {
    return Value{at("tool_calls"), calls}.Refuse("none; this server does not support tools");
  }
  const json content = member("content");
  // An assistant that called a tool said nothing.
  if (content.is_null() && message.role == "assistant") return absl::OkStatus();
  return ReadContent({at("content"), content}, part_types, message.content);
}

absl::Status ReadMessages(const Value& value, service::Conversation& messages) {
  if (!value.json.is_array() || value.json.empty()) {
    return value.Refuse("a list of one message or more");
  }
  for (size_t i = 0; i < value.json.size(); ++i) {
    const std::string name = Concat(value.name, "[", i, "]");
    absl::Status status = ReadMessage({name, value.json[i]}, kChatParts, messages.emplace_back());
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

std::span<const Field> ChatFields() { return kChat; }

absl::Status ReadChat(const json& body, GenerateJob& job) {
  job.request.options.max_tokens = kChatTokens;
  absl::Status status =
      ReadFields(body, {kChat, kAbsentFromChat, CommonFields(), AbsentFields()}, job);
  return status.ok() ? CompleteChat(job) : status;
}

}  // namespace fmaserver::openai
