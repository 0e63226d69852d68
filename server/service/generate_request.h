// What a Generate or Score call asks for, as a door hands it over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/request.h"
#include "server/service/chat.h"
#include "server/service/generate_event.h"
#include "server/service/limits.h"
#include "server/service/tokens.h"

namespace fmaserver::service {

/// A prompt: text, or tokens that are in the vocabulary, or messages, or none of them.
struct Input {
  std::optional<std::string> text = {};
  std::optional<std::vector<int32_t>> ids = {};
  std::optional<Conversation> messages = {};
  bool framed = false;  ///< of a text: within what the model's makers put around one

  bool empty() const { return !text.has_value() && !ids.has_value() && !messages.has_value(); }
};

/// What a turn does to its session's life, besides adding to it.
struct SessionEnds {
  bool first = false;  ///< the session is made, and goes again unless the turn is committed
  bool last = false;   ///< the session is removed after the turn
};

/// A turn that leaves the session that it goes on from as it is, and ends as a new one. A shutdown
/// does not interrupt it: it fails, and leaves nothing.
struct Branch {
  std::string parent;  ///< a session with a note; empty: it begins with nothing
  std::string child;   ///< the new session; empty: nothing is kept
  /// What is kept with the child (sessions::Turn::Commit), and tells it from others. Any thread.
  std::function<std::string(const Answered&)> note;
};

struct GenerateRequest {
  Input prompt;
  engine::GenerateRequest options;  ///< all else; its prompt and cache_scope are not set
  std::string session_id;           ///< empty: no session
  SessionEnds session_ends;         ///< only with a session_id
  std::optional<Branch> branch;     ///< with neither session_id nor resume_token
  std::string resume_token;         ///< not empty: nothing else is set
  std::string cache_salt;           ///< at most kMaxCacheSaltBytes
  bool skip_prefix_cache = false;

  bool has_turn() const {
    return !session_id.empty() || !resume_token.empty() || branch.has_value();
  }
};

inline constexpr size_t kMaxCacheSaltBytes = 256;

struct ScoreRequest {
  Input text;
  int32_t top_logprobs = 0;
  bool no_archive = false;
};

/// The engine's top_k for one that is not negative: a k of the whole vocabulary or more filters
/// nothing, which the engine calls 0.
int32_t TopK(int64_t k, const Vocabulary& vocabulary);

/// How tokens are chosen when a request does not say: as the model's makers do.
engine::SamplingParams DefaultSampling(const Vocabulary& vocabulary);

/// The tokens of `input`, within the limits: one or more.
absl::StatusOr<std::vector<int32_t>> TokensOf(Input input, const Vocabulary& vocabulary,
                                              const RequestLimits& limits);

/// The engine's request for `tenant`: checked against the limits, and with the tokens of the
/// prompt, which may be empty in a session. Messages to a session are left out, because their
/// tokens depend on what it holds.
absl::StatusOr<engine::GenerateRequest> ForEngine(GenerateRequest request,
                                                  const std::string& tenant,
                                                  const Vocabulary& vocabulary,
                                                  const RequestLimits& limits);

}  // namespace fmaserver::service
