#include "server/openai/response_request.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/refusal.h"
#include "base/text.h"
#include "server/openai/chat_request.h"

namespace fmaserver::openai {
namespace {

using nlohmann::json;

constexpr const char* kResponseParts[] = {"input_text", "output_text", "text"};

/// A message, as somebody wrote it or as an earlier answer brought it.
absl::Status ReadItem(const Value& value, chat::Message& message) {
  if (value.json.is_object()) {
    const json type = value.json.value("type", json("message"));
    if (type != "message") {
      return Value{Concat(value.name, ".type"), type}.Refuse(
          "\"message\"; other items are not supported");
    }
  }
  return ReadMessage(value, kResponseParts, message);
}

absl::Status ReadInput(const Value& value, GenerateJob& job) {
  service::Conversation& messages = job.prompts.emplace_back().messages.emplace();
  if (value.json.is_string()) {
    messages.push_back({.role = "user", .content = {}});
    return value.To(messages.back().content);
  }
  if (!value.json.is_array() || value.json.empty()) {
    return value.Refuse("a text, or a list of one message or more");
  }
  for (size_t i = 0; i < value.json.size(); ++i) {
    const std::string name = Concat(value.name, "[", i, "]");
    absl::Status status = ReadItem({name, value.json[i]}, messages.emplace_back());
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ReadInstructions(const Value& value, GenerateJob& job) {
  if (value.json == "") return absl::OkStatus();
  return value.To(job.response.instructions.emplace());
}

absl::Status ReadPrevious(const Value& value, GenerateJob& job) {
  absl::Status status = value.To(job.response.previous);
  if (!status.ok() || !job.response.previous.empty()) return status;
  return value.Refuse("the id of a response, or null");
}

absl::Status ReadMetadata(const Value& value, GenerateJob& job) {
  constexpr size_t kMaxPairs = 16;
  constexpr size_t kMaxKey = 64;
  constexpr size_t kMaxText = 512;
  const auto is_small = [](const auto& pair) {
    return pair.key().size() <= kMaxKey && pair.value().is_string() &&
           pair.value().template get_ref<const std::string&>().size() <= kMaxText;
  };
  bool fits = value.json.is_object() && value.json.size() <= kMaxPairs;
  if (fits) {
    for (const auto& pair : value.json.items()) fits = fits && is_small(pair);
  }
  if (!fits) {
    return value.Refuse(Concat("an object of up to ", kMaxPairs, " texts of up to ", kMaxText,
                               " bytes, with names of up to ", kMaxKey));
  }
  job.response.metadata = value.json;
  return absl::OkStatus();
}

absl::Status ReadUser(const Value& value, GenerateJob& job) {
  constexpr size_t kMaxUser = 512;
  std::string& user = job.response.user.emplace();
  absl::Status status = value.To(user);
  if (!status.ok() || user.size() <= kMaxUser) return status;
  return value.Refuse(Concat("a text of up to ", kMaxUser, " bytes"));
}

/// Nothing is ever too long for the model's memory, so that both ask for the same.
absl::Status ReadTruncation(const Value& value, GenerateJob& job) {
  if (value.json != "auto" && value.json != "disabled") {
    return value.Refuse("\"auto\" or \"disabled\"");
  }
  return value.To(job.response.truncation);
}

absl::Status ReadText(const Value& value, GenerateJob& job) {
  if (!value.json.is_object()) return value.Refuse("an object");
  for (const auto& [key, member] : value.json.items()) {
    const std::string name = Concat(value.name, ".", key);
    if (member.is_null()) continue;
    if (key != "format") {
      job.ignored.push_back(name);
    } else if (!member.is_object() || member.value("type", json()) != "text") {
      return Value{name, member}.Refuse("{\"type\":\"text\"}; other formats are not supported");
    }
  }
  return absl::OkStatus();
}

absl::Status ReadReasoning(const Value& value, GenerateJob& /*job*/) {
  const auto says_nothing = [](const json& member) { return member.is_null() || member == "none"; };
  if (value.json.is_object() && std::ranges::all_of(value.json, says_nothing)) {
    return absl::OkStatus();
  }
  return value.Refuse("unset; this server does not support it");
}

/// What belongs to items that no answer here has adds nothing.
absl::Status ReadInclude(const Value& value, GenerateJob& job) {
  if (!value.json.is_array()) return value.Refuse("a list");
  for (const json& wanted : value.json) {
    if (wanted == "message.output_text.logprobs" || !wanted.is_string()) {
      return value.Refuse("what this server has; log-probabilities are not supported");
    }
  }
  if (!value.json.empty()) job.ignored.emplace_back(value.name);
  return absl::OkStatus();
}

absl::Status IgnoreStreamOptions(const Value& value, GenerateJob& job) {
  if (!value.json.is_object()) return value.Refuse("an object");
  for (const auto& [key, option] : value.json.items()) {
    if (!option.is_null()) job.ignored.push_back(Concat(value.name, ".", key));
  }
  return absl::OkStatus();
}

template <int kOnly>
absl::Status MustBe(const Value& value, GenerateJob& /*job*/) {
  return value.json == kOnly ? absl::OkStatus()
                             : value.Refuse(Concat(kOnly, "; this server does not support more"));
}

absl::Status RefuseMaxTokens(const Value& value, GenerateJob& /*job*/) {
  return value.Refuse("unset; max_output_tokens bounds a response");
}

constexpr Field kResponse[] = {
    {"input", ReadInput},
    {"instructions", ReadInstructions},
    {"previous_response_id", ReadPrevious},
    {"max_output_tokens",
     [](const Value& v, GenerateJob& j) { return v.To(j.request.options.max_tokens); }},
    {"store", [](const Value& v, GenerateJob& j) { return v.To(j.response.store); }},
    {"metadata", ReadMetadata},
    {"user", ReadUser},
    {"truncation", ReadTruncation},
    {"text", ReadText},
    {"reasoning", ReadReasoning},
    {"include", ReadInclude},
    {"stream_options", IgnoreStreamOptions},
};

constexpr Field kAbsentFromResponses[] = {
    {"max_tokens", RefuseMaxTokens},
    {"max_completion_tokens", RefuseMaxTokens},
    {"n", MustBe<1>},
    {"top_logprobs", MustBe<0>},
    {"sources", MustBe<0>},
    {"attention_shares", MustBeFalse},
    {"background", MustBeFalse},
    {"logprobs", MustBeFalse},
    {"echo", MustBeFalse},
    {"return_progress", MustBeFalse},
    {"return_token_ids", MustBeFalse},
    {"return_tokens_as_token_ids", MustBeFalse},
    {"conversation", MustBeUnset},
    {"context_management", MustBeUnset},
    {"prompt", MustBeUnset},
    {"prompt_logprobs", MustBeUnset},
};

}  // namespace

std::span<const Field> ResponseFields() { return kResponse; }

std::span<const Field> AbsentFromResponses() { return kAbsentFromResponses; }

absl::StatusOr<GenerateJob> ReadResponse(const json& body, const service::Vocabulary& vocabulary) {
  GenerateJob job;
  job.vocabulary = vocabulary;
  job.request.options.sampling = service::DefaultSampling(vocabulary);
  job.request.options.max_tokens = kChatTokens;
  absl::Status status =
      ReadFields(body, {kResponse, kAbsentFromResponses, CommonFields(), AbsentFields()}, job);
  if (!status.ok()) return status;
  if (job.request.options.max_tokens < 1) {
    return Refusal("max_output_tokens", job.request.options.max_tokens, "1 or more");
  }
  if (!job.prompts.empty()) return job;
  return Refusal("input", Words{"missing"}, "a text, or a list of one message or more");
}

void ApplyInstructions(const std::optional<std::string>& in_force, GenerateJob& job) {
  std::optional<std::string>& given = job.response.instructions;
  if (!given.has_value()) {
    given = in_force;
  } else if (given != in_force) {
    service::Conversation& messages = *job.prompts.front().messages;
    messages.insert(messages.begin(), {.role = "system", .content = *given});
  }
}

}  // namespace fmaserver::openai
