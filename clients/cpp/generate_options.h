// The options of `fma generate` that make its request.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "clients/cpp/input.h"
#include "fma/v1/generation.pb.h"

namespace fmaserver::client {

/// What the user left out stays out of the request: the server's defaults apply.
struct GenerateOptions {
  InputOptions input;
  bool logprobs = false;
  std::optional<uint32_t> top_logprobs;

  std::optional<float> temperature;
  std::optional<uint32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<float> frequency_penalty;
  std::optional<float> presence_penalty;
  std::vector<std::string> logit_bias;  ///< "ID=BIAS"
  std::vector<uint32_t> allowed_token_ids;
  std::vector<uint32_t> banned_token_ids;
  std::optional<uint64_t> seed;

  std::optional<uint32_t> max_tokens;
  std::optional<uint32_t> min_tokens;
  std::vector<std::string> stop;
  std::vector<uint32_t> stop_token_ids;
  bool include_stop = false;
  bool ignore_eos = false;
  std::optional<double> time_limit_seconds;

  std::string session_id;
  std::string resume_token;
  std::optional<uint32_t> samples;
  std::optional<int32_t> priority;
  bool echo = false;
  std::optional<uint32_t> prompt_logprobs;
  std::string cache_salt;
  std::vector<uint64_t> marks;
  bool skip_prefix_cache = false;
  bool no_archive = false;
  uint32_t sources = 0;
  bool attention_shares = false;
};

void AddGenerateOptions(CLI::App& command, GenerateOptions& options);
/// Only how tokens are chosen, and where the text ends. The help shows a max_tokens that is set.
void AddSamplingOptions(CLI::App& command, GenerateOptions& options);

/// Only whether units of an archive may be opened.
void AddArchiveOptions(CLI::App& command, GenerateOptions& options);
/// Only whether it is shown how attention was divided.
void AddSharesOption(CLI::App& command, GenerateOptions& options);

/// Reads the input. INVALID_ARGUMENT or NOT_FOUND says what is wrong with an option.
absl::StatusOr<v1::GenerateRequest> MakeRequest(const GenerateOptions& options);
/// The same without a prompt, for which no input is read.
absl::StatusOr<v1::GenerateRequest> MakeOptions(const GenerateOptions& options);

}  // namespace fmaserver::client
