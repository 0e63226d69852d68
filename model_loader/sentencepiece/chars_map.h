// The rules for rewriting text inside a SentencePiece model ("precompiled_charsmap"): a 4-byte
// little-endian trie size, a double-array trie (darts-clone) of the texts to replace, and the
// NUL-terminated replacements that the trie's values point into.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace fmaserver::model {

class CharsMap {
 public:
  struct Match {
    size_t length = 0;  ///< bytes of text that the rule replaces, at least 1
    std::string_view replacement;
  };

  /// No rules.
  CharsMap() = default;

  /// INVALID_ARGUMENT when the sizes do not fit each other or a replacement is longer than 1024
  /// bytes. Links inside the trie are checked while it is walked: a broken one ends the walk.
  static absl::StatusOr<CharsMap> Parse(std::string_view bytes, std::string_view origin);

  /// The rule for the longest start of `text` that has one. The view is valid as long as the map.
  std::optional<Match> Find(std::string_view text) const;

 private:
  uint32_t Unit(size_t index) const { return index < units_.size() ? units_[index] : 0; }
  std::string_view Replacement(uint32_t offset) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace fmaserver::model
