// A compiled regular expression, and where it matches.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"

namespace fmaserver::model {

/// The working memory of matching. One per thread at a time.
class MatchMemory {
 public:
  MatchMemory();
  ~MatchMemory();
  MatchMemory(const MatchMemory&) = delete;
  MatchMemory& operator=(const MatchMemory&) = delete;

 private:
  friend class Pattern;
  struct State;
  std::unique_ptr<State> state_;
};

struct MatchRange {
  size_t begin = 0;
  size_t end = 0;
};

/// Thread-safe.
class Pattern {
 public:
  /// `expression` in the syntax of tokenizer.json (see ToPcre2Syntax). INVALID_ARGUMENT names
  /// `where` when it is not one, or can match nothing at all.
  static absl::StatusOr<Pattern> Compile(std::string_view expression, std::string_view where);

  /// Matches exactly `text`, which must not be empty.
  static absl::StatusOr<Pattern> Exactly(std::string_view text, std::string_view where);

  /// The first match that begins at `from` or behind; never an empty one. `text` must be valid
  /// UTF-8, and `from` the beginning of a character or the end. RESOURCE_EXHAUSTED when the
  /// expression tries too many ways on this text.
  absl::StatusOr<std::optional<MatchRange>> Find(std::string_view text, size_t from,
                                                 const MatchMemory& memory) const;

 private:
  struct Code;
  explicit Pattern(std::shared_ptr<const Code> code) : code_(std::move(code)) {}

  std::shared_ptr<const Code> code_;
};

}  // namespace fmaserver::model
