// A part of one choice: what some events of the engine add to it. A streamed chunk shows one part,
// a whole answer all of them joined.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "server/openai/generate_job.h"
#include "server/service/generate_event.h"

namespace fmaserver::openai {

/// How a choice ended.
struct End {
  engine::FinishReason reason{};
  std::string stop = {};                   ///< the stop string; empty: none
  std::optional<int32_t> stop_token = {};  ///< one that the request named
};

struct Part {
  std::string text = {};
  std::vector<int32_t> tokens = {};
  std::vector<engine::TokenScore> scores = {};  ///< with logprobs; those of an echoed prompt first
  std::vector<engine::TokenScore> prompt = {};  ///< with prompt_logprobs
  std::vector<int32_t> prompt_tokens = {};      ///< with return_token_ids
  std::vector<std::vector<engine::Source>> sources = {};  ///< one for each of `tokens`, or none
  std::vector<engine::AttentionShares> attention_shares = {};  ///< likewise
  std::optional<End> end = {};

  void Join(Part&& next);
  size_t bytes() const;  ///< that it takes in memory, about
};

Part PartOf(service::PromptTokens event, const GenerateJob& job);
Part PartOf(engine::Delta event);
Part PartOf(const service::GenerationFinished& event);

}  // namespace fmaserver::openai
