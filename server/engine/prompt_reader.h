// How a prompt is read: which tokens come next, whose logits are needed, what is told of them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "server/engine/request.h"
#include "server/engine/valid_request.h"

namespace fmaserver::engine {

/// Of the sample that reads the prompt, or of one that goes on where that one is. Positions count
/// from the sequence's very first token, as the cache does.
class PromptReader {
 public:
  /// The prompt's first token takes position `start`. Only with `reports` is the prompt told.
  PromptReader(const GenerateRequest& request, int64_t start, bool reports);

  /// Tokens of the prompt that the cache holds, which has `position` in all.
  int64_t Read(int64_t position) const { return position - start_; }
  /// Tokens to read before anything can be chosen; at most 0 once it can.
  int64_t Left(int64_t position) const { return to_read_ - Read(position); }
  bool Done(int64_t position) const { return Read(position) >= Size(); }
  int64_t Size() const { return std::ssize(request_.prompt); }

  /// What is read next, up to position `end`.
  std::span<const int32_t> Next(int64_t position, int64_t end) const;

  /// How many of the last rows need logits when the next `rows` tokens are read.
  int32_t LogitsWanted(int64_t position, int32_t rows) const;

  /// Whether the next rows' logits are needed themselves.
  bool Scores(int64_t position) const { return scores_ && Left(position) > 0; }

  /// What the request wants to know of its prompt, as far as tokens in (before, after] make it
  /// known; empty: nothing. `logits`, [after - before, V], only where Scores(before).
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
