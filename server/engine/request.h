// What the engine accepts and what it reports, free of any wire format.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace fmaserver {

/// How the next token is chosen; filters apply in the order temperature, top_k, top_p.
struct SamplingParams {
  float temperature = 1.0F;      ///< 0: the most likely token; else >= 0 and finite
  int32_t top_k = 0;             ///< 0: all
  float top_p = 1.0F;            ///< in (0, 1]
  std::optional<uint64_t> seed;  ///< drawn at random when absent
};

struct GenerateRequest {
  std::vector<int32_t> prompt;  ///< one token or more, each in [0, V)
  SamplingParams sampling;
  int64_t max_tokens = 16;  ///< >= 1
  bool ignore_eos = false;
  bool logprobs = false;
};

struct ScoreRequest {
  std::vector<int32_t> tokens;  ///< one or more, each in [0, V)
  int32_t top_logprobs = 0;     ///< 0..kMaxTopLogprobs
};

inline constexpr int32_t kMaxTopLogprobs = 100;

enum class FinishReason : uint8_t { kEos, kLength };

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  double queue_seconds = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
};

/// Tokens generated since the last delta, with the text that they complete.
struct Delta {
  std::vector<int32_t> tokens;
  std::string text;
  std::vector<float> logprobs;  ///< one per token when asked for, else empty
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

struct TokenScore {
  int32_t token = 0;
  std::optional<float> logprob;   ///< absent for a sequence's first token
  std::vector<TokenLogprob> top;  ///< best first
};

/// Where the engine reports one request. Called on the engine's thread, so a sink must return
/// quickly and never block; after OnFinish or OnError it is not called again.
class RequestSink {
 public:
  virtual ~RequestSink() = default;
  /// A slice of the prompt was read.
  virtual void OnPromptProgress(int64_t processed_tokens, int64_t total_tokens) = 0;
  virtual void OnError(const absl::Status& status) = 0;
};

class GenerateSink : public RequestSink {
 public:
  virtual void OnDelta(Delta delta) = 0;
  /// `text` is what the decoder still held back: the replacement of an unfinished character.
  virtual void OnFinish(FinishReason reason, const Usage& usage, std::string text) = 0;
};

class ScoreSink : public RequestSink {
 public:
  virtual void OnScores(std::vector<TokenScore> scores) = 0;
  virtual void OnFinish(const Usage& usage) = 0;
};

}  // namespace fmaserver
