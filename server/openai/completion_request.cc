#include "server/openai/completion_request.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::openai {
namespace {

using nlohmann::json;

/// A prompt alone: a text, or tokens.
absl::Status AddPrompt(const Value& value, GenerateJob& job) {
  service::Input& input = job.prompts.emplace_back();
  if (value.json.is_string()) return value.To(input.text.emplace());
  return value.ToIds(job.vocabulary, input.ids.emplace());
}

absl::Status ReadPrompt(const Value& value, GenerateJob& job) {
  const bool is_list = value.json.is_array() && !value.json.empty() &&
                       (value.json.front().is_string() || value.json.front().is_array());
  if (!is_list) return AddPrompt(value, job);
  if (value.json.size() > kMaxPrompts) {
    return Refusal("prompt", Words{Concat(value.json.size(), " prompts")},
                   Concat("up to ", kMaxPrompts));
  }
  for (size_t i = 0; i < value.json.size(); ++i) {
    const std::string name = Concat("prompt[", i, "]");
    if (absl::Status status = AddPrompt({name, value.json[i]}, job); !status.ok()) return status;
  }
  return absl::OkStatus();
}

/// The number of alternatives; with 0 the chosen tokens alone.
absl::Status ReadLogprobs(const Value& value, GenerateJob& job) {
  if (value.json == false) return absl::OkStatus();
  job.logprobs = true;
  int32_t& count = job.top_logprobs;
  if (absl::Status status = value.To(count); !status.ok()) return status;
  if (count >= 0 && count <= engine::kMaxTopLogprobs) return absl::OkStatus();
  return value.Refuse(FromTo(0, engine::kMaxTopLogprobs));
}

constexpr Field kCompletion[] = {
    {"prompt", ReadPrompt},
    {"echo", [](const Value& v, GenerateJob& j) { return v.To(j.echo); }},
    {"logprobs", ReadLogprobs},
    {"best_of", [](const Value& v, GenerateJob& j) { return v.To(j.best_of.emplace()); }},
    {"add_special_tokens",
     [](const Value& v, GenerateJob& j) { return v.To(j.add_special_tokens); }},
};

constexpr Field kAbsentFromCompletions[] = {{"suffix", MustBeUnset}};

/// The text that stands before the output.
absl::StatusOr<std::string> EchoOf(const service::Input& input,
                                   const service::Vocabulary& vocabulary) {
  if (input.text.has_value()) return *input.text;
  if (vocabulary.tokenizer == nullptr) return std::string();
  return vocabulary.tokenizer->Decode(*input.ids);
}

absl::Status CompletePrompts(GenerateJob& job) {
  if (job.prompts.empty()) {
    return Refusal("prompt", Words{"missing"}, "a text, tokens, or a list of either");
  }
  engine::GenerateRequest& options = job.request.options;
  const int32_t best_of = job.best_of.value_or(options.n);
  if (best_of != 1 && best_of != options.n) return Refusal("best_of", best_of, "n");
  if (job.echo && options.max_tokens == 0) {
    // The engine wants to choose at least one token, which nobody sees.
    job.score_only = true;
    options.max_tokens = 1;
  }
  if (job.echo && job.logprobs) options.prompt_logprobs = job.top_logprobs;
  for (service::Input& input : job.prompts) {
    input.framed = job.add_special_tokens;
    if (!job.echo) continue;
    auto echo = EchoOf(input, job.vocabulary);
    if (!echo.ok()) return echo.status();
    job.echoes.push_back(*std::move(echo));
  }
  return absl::OkStatus();
}

}  // namespace

std::span<const Field> CompletionFields() { return kCompletion; }

absl::Status ReadCompletion(const json& body, GenerateJob& job) {
  absl::Status status =
      ReadFields(body, {kCompletion, kAbsentFromCompletions, CommonFields(), AbsentFields()}, job);
  return status.ok() ? CompletePrompts(job) : status;
}

}  // namespace fmaserver::openai
