#include "clients/cpp/generate_options.h"

#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/refusal.h"
#include "clients/cpp/output.h"
#include "command_line/numbers.h"

namespace fmaserver::client {
namespace {

/// Adds options to one group of the help.
class Group {
 public:
  Group(CLI::App& command, std::string name) : command_(command), name_(std::move(name)) {}

  /// A number, or a text.
  template <class Value>
  CLI::Option& Add(const char* flag, Value& value, const std::string& help) {
    if constexpr (std::is_arithmetic_v<typename NumberOf<Value>::Type>) {
      return *AddNumber(command_, flag, value, help)->group(name_);
    } else {
      return *command_.add_option(flag, value, help)->group(name_);
    }
  }

  /// An option that may be given many times, with one value each.
  template <class Value>
  CLI::Option& AddMany(const char* flag, std::vector<Value>& values, const char* help) {
    return *Add(flag, values, help).allow_extra_args(false);
  }

  void AddFlag(const char* flag, bool& value, const char* help) {
    command_.add_flag(flag, value, help)->group(name_);
  }

 private:
  CLI::App& command_;
  const std::string name_;
};

void AddChoosingOptions(Group group, GenerateOptions& options) {
  group.Add("--temperature", options.temperature,
            "0 takes the most likely token (server: the model's, usually 1)");
  group.Add("--top-k", options.top_k,
            "Choose among the k most likely tokens; 0: all (server: the model's, usually 0)");
  group.Add("--top-p", options.top_p,
            "Choose among tokens that sum to this, in (0, 1] (server: the model's, usually 1)");
  group.Add(
      "--min-p", options.min_p,
      "Choose among tokens with this part of the best one's probability (server: the model's, "
      "usually 0)");
  group.Add("--repetition-penalty", options.repetition_penalty,
            "Above 1: fewer tokens of prompt and output again (server: the model's, usually 1)");
  group.Add("--frequency-penalty", options.frequency_penalty,
            "Off a token's logit for each time the output holds it, -2 to 2 (server: 0)");
  group.Add("--presence-penalty", options.presence_penalty,
            "Off a token's logit once the output holds it, -2 to 2 (server: 0)");
  group
      .AddMany("--logit-bias", options.logit_bias,
               "Add to a token's logit, -100 to 100; may repeat")
      .type_name("ID=BIAS");
  group.AddMany("--allow-token", options.allowed_token_ids, "Generate only these; may repeat")
      .type_name("ID");
  group.AddMany("--ban-token", options.banned_token_ids, "Never generate these; may repeat")
      .type_name("ID");
  group.Add("--seed", options.seed, "Repeats a result (server: at random)");
}

void AddStoppingOptions(Group group, GenerateOptions& options) {
  const std::string otherwise =
      options.max_tokens ? WithCommas(*options.max_tokens) : std::string("server: 16");
  group.Add(
      "-n,--max-tokens", options.max_tokens,
      absl::StrCat("Most tokens to generate, 1 or more, in a session also 0 (", otherwise, ")"));
  group.Add("--min-tokens", options.min_tokens, "Fewest tokens to generate (server: 0)");
  group.AddMany("--stop", options.stop, "End before this text; may repeat");
  group.AddMany("--stop-token", options.stop_token_ids, "End before this token; may repeat")
      .type_name("ID");
  group.AddFlag("--include-stop", options.include_stop, "End after the stop text or token");
  group.AddFlag("--ignore-eos", options.ignore_eos, "Go on past the end of the text");
  group.Add("--time-limit", options.time_limit_seconds,
            "Seconds to read and generate (server: no limit)");
}

void AddStateOptions(Group group, GenerateOptions& options) {
  group.Add("--session", options.session_id, "Continue this session; only the new text is sent")
      .type_name("ID");
  group.Add("--resume", options.resume_token, "Go on with what a server's shutdown interrupted")
      .type_name("TOKEN");
  group.AddMany("--mark", options.marks, "Keep the state after so many prompt tokens; may repeat")
      .type_name("TOKENS");
  group.Add("--cache-salt", options.cache_salt, "Share cached prompts only with the same salt");
  group.AddFlag("--skip-prefix-cache", options.skip_prefix_cache, "Read the whole prompt");
}

template <class Ids>
void AddIds(const std::vector<uint32_t>& ids, Ids& field) {
  field.Add(ids.begin(), ids.end());
}

absl::Status AddLogitBias(const std::string& option, v1::SamplingParams& sampling) {
  const size_t equals = option.find('=');
  const absl::string_view text = option;
  uint32_t id = 0;
  float bias = 0;
  if (equals == std::string::npos || !absl::SimpleAtoi(text.substr(0, equals), &id) ||
      !absl::SimpleAtof(text.substr(equals + 1), &bias)) {
    return Refusal("--logit-bias", option, "a token id and a number, such as 42=-1.5");
  }
  (*sampling.mutable_logit_bias())[id] = bias;
  return absl::OkStatus();
}

absl::Status SetSampling(const GenerateOptions& options, v1::SamplingParams& sampling) {
  if (options.temperature) sampling.set_temperature(*options.temperature);
  if (options.top_k) sampling.set_top_k(*options.top_k);
  if (options.top_p) sampling.set_top_p(*options.top_p);
  if (options.min_p) sampling.set_min_p(*options.min_p);
  if (options.repetition_penalty) sampling.set_repetition_penalty(*options.repetition_penalty);
  if (options.frequency_penalty) sampling.set_frequency_penalty(*options.frequency_penalty);
  if (options.presence_penalty) sampling.set_presence_penalty(*options.presence_penalty);
  AddIds(options.allowed_token_ids, *sampling.mutable_allowed_token_ids());
  AddIds(options.banned_token_ids, *sampling.mutable_banned_token_ids());
  if (options.seed) sampling.set_seed(*options.seed);
  absl::Status status;
  for (const std::string& bias : options.logit_bias) status.Update(AddLogitBias(bias, sampling));
  return status;
}

void SetStopping(const GenerateOptions& options, v1::GenerateRequest& request) {
  if (options.max_tokens) request.set_max_tokens(*options.max_tokens);
  if (options.min_tokens) request.set_min_tokens(*options.min_tokens);
  request.mutable_stop()->Add(options.stop.begin(), options.stop.end());
  AddIds(options.stop_token_ids, *request.mutable_stop_token_ids());
  request.set_include_stop(options.include_stop);
  request.set_ignore_eos(options.ignore_eos);
  if (options.time_limit_seconds) request.set_time_limit_seconds(*options.time_limit_seconds);
}

void SetState(const GenerateOptions& options, v1::GenerateRequest& request) {
  request.set_session_id(options.session_id);
  request.mutable_marks()->Add(options.marks.begin(), options.marks.end());
  request.set_cache_salt(options.cache_salt);
  request.set_skip_prefix_cache(options.skip_prefix_cache);
  request.set_no_archive(options.no_archive);
  request.set_sources(options.sources);
}

// A session may be continued without anything new.
absl::Status ReadPrompt(const GenerateOptions& options, v1::GenerateRequest& request) {
  absl::Status status = ReadInput(options.input, request);
  if (options.session_id.empty() || options.input.IsGiven()) return status;
  if (request.text().empty()) request.clear_prompt();
  return absl::OkStatus();
}

}  // namespace

void AddSamplingOptions(CLI::App& command, GenerateOptions& options) {
  AddChoosingOptions({command, "Sampling"}, options);
  AddStoppingOptions({command, "Stopping"}, options);
}

void AddArchiveOptions(CLI::App& command, GenerateOptions& options) {
  Group group(command, "Archive");
  group.AddFlag("--no-archive", options.no_archive,
                "Be served in constant memory, without opening units of an archive");
  group.Add("--sources", options.sources,
            "Show the passages that the answer was read from; so many are asked for at each token, "
            "1 to 100");
}

void AddSharesOption(CLI::App& command, GenerateOptions& options) {
  command.add_flag("--shares", options.attention_shares,
                   "Show how much attention sinks, near field, each level and opened units got, by "
                   "layer");
}

void AddGenerateOptions(CLI::App& command, GenerateOptions& options) {
  AddInputOptions(command, options.input);
  AddSamplingOptions(command, options);
  AddStateOptions({command, "State"}, options);
  AddArchiveOptions(command, options);
  AddNumber(command, "--n", options.samples, "Samples from one reading of the prompt (server: 1)");
  AddNumber(command, "--priority", options.priority,
            "Lower is served first, -100 to 100 (server: 0)");
  command.add_flag("--echo", options.echo, "Print the prompt before its continuation");
  AddSharesOption(command, options);
  command.add_flag("--logprobs", options.logprobs, "With --json: each token's log-probability");
  AddNumber(command, "--top-logprobs", options.top_logprobs,
            "With --json: alternatives to list at every token, 0 to 100");
  AddNumber(command, "--prompt-logprobs", options.prompt_logprobs,
            "With --json: the prompt's log-probabilities with so many alternatives");
}

absl::StatusOr<v1::GenerateRequest> MakeRequest(const GenerateOptions& options) {
  v1::GenerateRequest prompt;
  if (!options.resume_token.empty()) {
    prompt.set_resume_token(options.resume_token);
    return prompt;
  }
  if (absl::Status status = ReadPrompt(options, prompt); !status.ok()) return status;
  auto request = MakeOptions(options);
  if (request.ok()) request->MergeFrom(prompt);
  return request;
}

absl::StatusOr<v1::GenerateRequest> MakeOptions(const GenerateOptions& options) {
  v1::GenerateRequest request;
  if (absl::Status status = SetSampling(options, *request.mutable_sampling()); !status.ok()) {
    return status;
  }
  SetStopping(options, request);
  request.set_logprobs(options.logprobs);
  if (options.top_logprobs) request.set_top_logprobs(*options.top_logprobs);
  SetState(options, request);
  if (options.samples) request.set_n(*options.samples);
  if (options.priority) request.set_priority(*options.priority);
  request.set_echo(options.echo);
  request.set_attention_shares(options.attention_shares);
  if (options.prompt_logprobs) request.set_prompt_logprobs(*options.prompt_logprobs);
  return request;
}

}  // namespace fmaserver::client
