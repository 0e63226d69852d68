// Which tokens a sequence has met, and how often it generated each.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>

namespace fmaserver::engine {

/// One entry for every token seen, so its size follows the text and never the vocabulary.
class TokenCounts {
 public:
  explicit TokenCounts(std::span<const int32_t> prompt) {
    for (const int32_t token : prompt) generated_.try_emplace(token, 0);
  }

  void AddGenerated(int32_t token) { ++generated_[token]; }

  /// Times each token was generated; 0 for those that only the prompt holds. In no order.
  const std::unordered_map<int32_t, int64_t>& generated() const { return generated_; }

 private:
  std::unordered_map<int32_t, int64_t> generated_;
};

}  // namespace fmaserver::engine
