// Which tokens a sequence has seen, and how often it generated each.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>

namespace fmaserver::engine {

/// One entry for every token seen, so its size depends on the text and not on the vocabulary.
class TokenCounts {
 public:
  explicit TokenCounts(std::span<const int32_t> prompt) {
    for (const int32_t token : prompt) generated_.try_emplace(token, 0);
  }

  void AddGenerated(int32_t token) { ++generated_[token]; }

  /// How often each token was generated; 0 for tokens that only the prompt has. In no particular
  /// order.
  const std::unordered_map<int32_t, int64_t>& generated() const { return generated_; }

 private:
  std::unordered_map<int32_t, int64_t> generated_;
};

}  // namespace fmaserver::engine
