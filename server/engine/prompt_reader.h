// How a prompt is read: which tokens come next, whose logits are needed, and what is reported.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "server/engine/request.h"
#include "server/engine/valid_request.h"

namespace fmaserver::engine {

/// The reader of the sample that reads the prompt, or of a sample that forks from it. Positions
/// count from the sequence's very first token, as the cache's do.
class PromptReader {
 public:
  /// The prompt's first token takes position `start`. Report is empty without `reports`.
  PromptReader(const GenerateRequest& request, int64_t start, bool reports);

  /// How many tokens of the prompt have been read when the cache holds `position` tokens.
  int64_t Read(int64_t position) const { return position - start_; }
  /// How many tokens are to be read before a token can be chosen; 0 or less once it can.
  int64_t Left(int64_t position) const { return to_read_ - Read(position); }
  bool Done(int64_t position) const { return Read(position) >= Size(); }
  int64_t Size() const { return std::ssize(request_.prompt); }

  /// The tokens to read next, up to position `end`.
  std::span<const int32_t> Next(int64_t position, int64_t end) const;

  /// How many of the last rows need logits when the next `rows` tokens are read.
  int32_t LogitsWanted(int64_t position, int32_t rows) const;

  /// Whether Report needs the logits of the next rows.
  bool Scores(int64_t position) const { return scores_ && Left(position) > 0; }

  /// What the request wants to know of its prompt and what reading from position `before` to
  /// `after` has made known; empty: nothing. `logits`, [after - before, V], are needed if
  /// Scores(before).
  std::vector<TokenScore> Report(int64_t before, int64_t after,
                                 std::span<const float> logits) const;

 private:
  std::vector<TokenScore> Scored(int64_t before, int64_t rows, std::span<const float> logits) const;

  const GenerateRequest& request_;
  const int64_t start_;
  const int64_t to_read_;
  const bool scores_;
  const bool echoes_;
};

}  // namespace fmaserver::engine
