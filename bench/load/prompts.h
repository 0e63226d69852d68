// The tokens of prompts: random ids, or pieces of a text.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "clients/cpp/client.h"

namespace fmaserver::bench {

/// Immutable, and so thread-safe.
class PromptSource {
 public:
  /// Ids drawn uniformly from the whole vocabulary.
  static PromptSource RandomIds(uint64_t vocab_size) { return {vocab_size, {}}; }

  /// The text of `file`, UTF-8 of at most 16 MiB, as tokens of `model`. NOT_FOUND or
  /// INVALID_ARGUMENT for a file that cannot be used; otherwise the server's error.
  static absl::StatusOr<PromptSource> FromFile(const std::string& file, const std::string& model,
                                               client::Client& client);

  /// A piece that begins at a random place; where the text ends, it goes on at the text's start.
  std::vector<uint32_t> Make(int64_t length, std::mt19937_64& random) const;

 private:
  PromptSource(uint64_t vocab_size, std::vector<uint32_t> text)
      : vocab_size_(vocab_size), text_(std::move(text)) {}

  uint64_t vocab_size_;
  std::vector<uint32_t> text_;  // empty: random ids
};

}  // namespace fmaserver::bench
