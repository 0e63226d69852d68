// What the engine accepts and what it reports, free of any wire format.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/byte_range.h"
#include "base/clock.h"
#include "kernels/sampling.h"
#include "server/engine/archive.h"

namespace fmaserver::engine {

using RequestId = uint64_t;

/// How the next token is chosen. Filters apply in the order allowed_token_ids, banned_token_ids,
/// logit_bias, repetition_penalty, frequency_penalty, presence_penalty, temperature, min_p, top_k,
/// top_p; greedy sampling uses those before temperature.
struct SamplingParams {
  float temperature = 1.0F;                  ///< 0: the most likely token; else >= 0 and finite
  int32_t top_k = 0;                         ///< 0: all
  float top_p = 1.0F;                        ///< in (0, 1]
  float min_p = 0.0F;                        ///< in [0, 1], relative to the most likely token
  float repetition_penalty = 1.0F;           ///< in [kMinRepetitionPenalty, kMaxRepetitionPenalty]
  float frequency_penalty = 0.0F;            ///< in [-kMaxPenalty, kMaxPenalty]
  float presence_penalty = 0.0F;             ///< in [-kMaxPenalty, kMaxPenalty]
  std::map<int32_t, float> logit_bias = {};  ///< biases in [-kMaxLogitBias, kMaxLogitBias]
  std::vector<int32_t> allowed_token_ids = {};  ///< empty: all
  std::vector<int32_t> banned_token_ids = {};
  std::optional<uint64_t> seed = {};  ///< drawn at random when absent
};

inline constexpr float kMinRepetitionPenalty = 0.01F;
inline constexpr float kMaxRepetitionPenalty = 100;
inline constexpr float kMaxPenalty = 2;
inline constexpr float kMaxLogitBias = 100;

struct GenerateRequest {
  std::vector<int32_t> prompt;  ///< one token or more, each in [0, V)
  /// How many of the prompt's first tokens belong to an earlier turn: they are read, but not
  /// reported.
  int64_t pending = 0;
  /// The state to start from, after the tokens before `prompt`; without a slot: an empty sequence.
  State state;
  /// Tokens before the output that the repetition penalty counts; absent: `prompt`.
  std::optional<std::vector<int32_t>> penalty_context;
  /// The tokens that an earlier, interrupted run of this request chose: they count as generated,
  /// but are not reported again. The last of them that `state` has not read are also in `prompt`.
  std::vector<int32_t> generated;
  SamplingParams sampling;
  int32_t n = 1;            ///< samples, 1..kMaxSamples; sample i draws with seed + i
  int64_t max_tokens = 16;  ///< >= 1, or 0 with keep_state
  int64_t min_tokens = 0;   ///< 0..max_tokens; neither EOS nor a stop ends a shorter text
  bool ignore_eos = false;
  std::vector<std::string> stop;        ///< at most kMaxStops, each of 1..kMaxStopBytes bytes
  std::vector<int32_t> stop_token_ids;  ///< at most kMaxStopTokenIds
  bool include_stop = false;            ///< the stop string or token is part of the output
  bool include_eos = false;             ///< and so is the model's end-of-sequence token
  /// > 0; counted from the first step, so that the wait for a slot does not count.
  double time_limit_seconds = std::numeric_limits<double>::infinity();
  bool logprobs = false;
  int32_t top_logprobs = 0;                ///< 0..kMaxTopLogprobs
  std::optional<int32_t> prompt_logprobs;  ///< alternatives, 0..kMaxTopLogprobs; absent: none
  bool echo = false;                       ///< report the prompt's tokens first
  /// Report the units of the archive that were read for each token, at most so many;
  /// 0..kMaxSources, and 0 unless the model opens units.
  int32_t sources = 0;
  bool attention_shares = false;  ///< report how the query of each token divided its attention
  /// Only with sources: the tokens right before `prompt`, as many as are known.
  std::vector<int32_t> earlier = {};
  int32_t priority = 0;  ///< kMinPriority (first) to kMaxPriority
  /// Keep the state after these numbers of prompt tokens, not counting pending ones; each from 1 to
  /// the prompt's length.
  std::vector<int64_t> marks;
  bool keep_state = false;  ///< report the state at the end, at marks and regularly (OnState)
  /// The tenant's prompts find each other's states only within one scope; absent: states are
  /// neither looked up nor stored.
  std::optional<std::string> cache_scope;
  /// Be served in constant memory, though the model could open units of its archive. A state whose
  /// archive is not complete is served so anyway.
  bool no_archive = false;
  std::string tenant = {};  ///< whose it is: its cached states, and its archive
};

inline constexpr int32_t kMaxSamples = 128;
inline constexpr int32_t kMaxSources = 100;
inline constexpr size_t kMaxMarks = 64;
inline constexpr int32_t kMinPriority = -100;
inline constexpr int32_t kMaxPriority = 100;
inline constexpr size_t kMaxStops = 16;
inline constexpr size_t kMaxStopBytes = 256;
inline constexpr size_t kMaxStopTokenIds = 128;

struct ScoreRequest {
  std::vector<int32_t> tokens;  ///< one or more, each in [0, V)
  int32_t top_logprobs = 0;     ///< 0..kMaxTopLogprobs
  bool no_archive = false;      ///< as in GenerateRequest
  std::string tenant = {};      ///< whose archive it counts as
};

inline constexpr int32_t kMaxTopLogprobs = 100;

enum class FinishReason : uint8_t { kEos, kStopSequence, kLength, kTimeLimit };

/// Why the prefix cache gave nothing of a prompt.
enum class CacheMiss : uint8_t {
  kNone,     ///< it gave something, or was not asked yet
  kOff,      ///< this engine has none
  kSkipped,  ///< the request does without it, or needs the logits of its whole prompt
  kSession,  ///< the sequence goes on from a session's state
  kShort,    ///< too few tokens to keep a state of
  kUnseen,   ///< no earlier prompt begins alike
  kNotKept,  ///< one did, but no state of what both share is held
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  ///< of the prompt, found in the prefix cache
  CacheMiss cache_miss = CacheMiss::kNone;
  int64_t generated_tokens = 0;
  /// How many of the sequence's tokens its archive holds; 0 when it is served in constant memory.
  int64_t archived_tokens = 0;
  Clock::time_point arrival = {};  ///< at the engine; the times below follow it, in this order
  double queue_seconds = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
};

using TokenLogprob = kernels::TokenValue;

/// A unit of the far past that was read to choose a token: tokens [begin, end) of the sequence.
struct Source {
  int64_t begin = 0;
  int64_t end = 0;
  float share = 0;                      ///< of the attention of all layers and query heads, 0..1
  std::string text = {};                ///< of its whole characters, where its tokens are known
  std::optional<ByteRange> bytes = {};  ///< where in the sequence's text, if all of it is known
};

/// How one layer divided the attention of a chosen token's query, on average over its query heads;
/// together 1. What a model does not have gets 0.
struct LayerShares {
  float sinks = 0;  ///< once they have left the near field, which they are counted to before
  float near_field = 0;
  std::vector<float> levels = {};  ///< [L], the finest first; as group, not as opened tokens
  float opened_units = 0;
};
using AttentionShares = std::vector<LayerShares>;  ///< by layer

/// The tokens generated since the last delta, with the text that they complete.
struct Delta {
  int32_t index = 0;  ///< which of the n samples
  std::vector<int32_t> tokens;
  std::string text;
  std::vector<float> logprobs;  ///< one per token when asked for, else empty
  std::vector<std::vector<TokenLogprob>> top_logprobs;  ///< likewise; each best first
  std::vector<std::vector<Source>> sources;             ///< likewise
  std::vector<AttentionShares> attention_shares;        ///< likewise
};

/// What a request with keep_state leaves behind when it has finished or was interrupted.
struct Kept {
  State state;  ///< without a slot: no token was read and there was none before
  /// Every token chosen, in order, including the one that ended the text. The prompt and these
  /// tokens are the sequence; `state` has read a part of it, never the last token.
  std::vector<int32_t> generated;
};

/// How a generation ended.
struct Finished {
  int32_t index = 0;  ///< which of the n samples
  FinishReason reason{};
  std::optional<int32_t> stop_token;  ///< kEos, or kStopSequence by a token
  std::string stop;                   ///< kStopSequence by a string
  Usage usage;
  /// Text that was still held back: the start of a stop string, the replacement of an unfinished
  /// character.
  std::string text;
  Kept kept;  ///< with keep_state
};

struct TokenScore {
  int32_t token = 0;
  std::optional<float> logprob;   ///< absent for a sequence's first token, or not asked for
  std::vector<TokenLogprob> top;  ///< best first
};

struct PromptProgress {
  int64_t processed_tokens = 0;  ///< with those that were cached
  int64_t total_tokens = 0;
  int64_t cached_tokens = 0;  ///< that did not have to be read
};

/// Where the engine reports one request. Called on the engine's thread, so a sink must return
/// quickly and never block; after OnFinish or OnError it is not called again.
class RequestSink {
 public:
  virtual ~RequestSink() = default;
  /// False while the reader is behind: the request pauses until it has caught up (Engine::Wake).
  virtual bool KeepsUp() const { return true; }
  /// A slice of the prompt was read.
  virtual void OnPromptProgress(const PromptProgress& progress) = 0;
  /// `usage` is what it has had until then.
  virtual void OnError(const absl::Status& status, const Usage& usage) = 0;
};

class GenerateSink : public RequestSink {
 public:
  /// Tokens of the prompt, in order.
  virtual void OnPrompt(std::vector<TokenScore> tokens) = 0;
  virtual void OnDelta(Delta delta) = 0;
  /// The state at a mark, or where one may be worth keeping; only with keep_state.
  virtual void OnState(State state) = 0;
  /// Called once for each sample; the request is over after the last.
  virtual void OnFinish(Finished finish) = 0;
  /// The engine shuts down: called instead of OnError for a request with keep_state. With this seed
  /// and what is kept, another engine goes on as this one would have.
  virtual void OnInterrupted(Kept kept, uint64_t seed, const Usage& usage) = 0;
};

class ScoreSink : public RequestSink {
 public:
  virtual void OnScores(std::vector<TokenScore> scores) = 0;
  virtual void OnFinish(const Usage& usage) = 0;
};

}  // namespace fmaserver::engine
