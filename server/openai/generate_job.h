// What a completion, a chat or a response asks for, read from its JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "server/service/generate_request.h"
#include "server/service/tokens.h"

namespace fmaserver::openai {

/// What only a response has.
struct ResponseTerms {
  std::string previous = {};                     ///< the response that it follows; empty: none
  std::optional<std::string> instructions = {};  ///< those in force
  bool store = true;
  nlohmann::json metadata = nlohmann::json::object();
  std::optional<std::string> user = {};
  std::string truncation = "disabled";
};

struct GenerateJob {
  bool chat = false;
  std::string model;  ///< as the client calls it; empty: it calls none
  service::Vocabulary vocabulary;

  std::vector<service::Input> prompts;
  service::GenerateRequest request;  ///< the same for each of the prompts, but for the prompt
  std::vector<std::string> echoes;   ///< with echo: the text of each prompt
  bool echo = false;
  bool score_only = false;  ///< the prompt's scores are wanted, and no token after it

  std::optional<int32_t> best_of = {};
  std::optional<int64_t> max_completion_tokens = {};  ///< wins over max_tokens
  bool logprobs = false;
  int32_t top_logprobs = 0;
  bool add_special_tokens = true;
  bool tokens_as_ids = false;     ///< tokens are shown as "token_id:7"
  bool return_token_ids = false;  ///< beside the text

  bool stream = false;
  bool include_usage = false;     ///< of a stream: at its end
  bool continuous_usage = false;  ///< and with each of its events
  bool return_progress = false;   ///< of a stream, while the prompt is read

  ResponseTerms response;

  std::vector<std::string> ignored;  ///< names of fields without effect

  /// 1..kMaxSamples.
  int32_t samples() const { return request.options.n; }
  size_t choices() const { return prompts.size() * static_cast<size_t>(samples()); }
};

}  // namespace fmaserver::openai
