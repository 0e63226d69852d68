// What a Generate call sends to its reader, without any wire format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "server/engine/request.h"

namespace fmaserver::service {

/// Tokens of the prompt, in order.
struct PromptTokens {
  std::vector<engine::TokenScore> tokens;
};

/// The session after a finished turn.
struct SessionAfter {
  std::string id;
  int64_t tokens = 0;
  bool durable = false;
};

/// The answer of a branch, as a whole.
struct Answered {
  std::string text = {};
  engine::FinishReason reason{};
  int64_t input_tokens = 0;   ///< before the answer: those of the parent, and the new ones
  int64_t cached_tokens = 0;  ///< of these, those that were not read, because a state held them
  int64_t output_tokens = 0;
};

struct GenerationFinished {
  engine::Finished end;  ///< without what is kept
  std::optional<SessionAfter> session = {};
  std::optional<Answered> answered = {};  ///< of a branch
};

/// The last event of a turn that a shutdown cut short.
struct GenerationInterrupted {
  std::string resume_token;
};

using GenerateEvent = std::variant<engine::PromptProgress, PromptTokens, engine::Delta,
                                   GenerationFinished, GenerationInterrupted>;

/// The most tokens whose scores are one event: with 100 alternatives each, some 100 KiB.
inline constexpr size_t kScoresPerEvent = 64;

/// `scores` in pieces of at most kScoresPerEvent.
std::vector<std::vector<engine::TokenScore>> InPieces(std::vector<engine::TokenScore> scores);

/// For Outbox. A progress event replaces an earlier one; tokens of the prompt, and deltas of one
/// sample, are joined.
size_t BytesOf(const GenerateEvent& event);
bool Merge(GenerateEvent& last, GenerateEvent& next);

/// An estimate of the bytes that these take in an answer.
size_t BytesOf(const std::vector<engine::TokenScore>& scores);
size_t BytesOf(const engine::AttentionShares& shares);

}  // namespace fmaserver::service
