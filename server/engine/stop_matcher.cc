#include "server/engine/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace fmaserver::engine {

StopMatcher::StopMatcher(std::span<const std::string> stops, bool include) : include_(include) {
  for (const std::string& stop : stops) patterns_.push_back(MakePattern(stop));
}

StopMatcher::Pattern StopMatcher::MakePattern(const std::string& text) {
  Pattern pattern{text, std::vector<size_t>(text.size(), 0), 0};
  for (size_t i = 1; i < text.size(); ++i) {
    size_t border = pattern.fallback[i - 1];
    while (border > 0 && text[border] != text[i]) border = pattern.fallback[border - 1];
    pattern.fallback[i] = text[border] == text[i] ? border + 1 : border;
  }
  return pattern;
}

void StopMatcher::Advance(Pattern& pattern, char byte) {
  // The matcher stops at a complete match, so state < text.size() here.
  while (pattern.state > 0 && pattern.text[pattern.state] != byte) {
    pattern.state = pattern.fallback[pattern.state - 1];
  }
  if (pattern.text[pattern.state] == byte) ++pattern.state;
}

const StopMatcher::Pattern& StopMatcher::Longest() const {
  return *std::ranges::max_element(patterns_, {}, &Pattern::state);
}

std::string StopMatcher::Push(std::string_view text) {
  if (patterns_.empty()) return std::string(text);
  if (matched_ != nullptr) return {};
  std::string output = std::exchange(held_, {});
  for (const char byte : text) {
    output.push_back(byte);
    const Pattern* whole = nullptr;
    for (Pattern& pattern : patterns_) {
      Advance(pattern, byte);
      if (pattern.state < pattern.text.size()) continue;
      if (whole == nullptr || pattern.text.size() > whole->text.size()) whole = &pattern;
    }
    if (whole == nullptr) continue;
    matched_ = &whole->text;
    if (!include_) output.resize(output.size() - whole->text.size());
    return output;
  }
  if (!include_) {
    held_ = output.substr(output.size() - Longest().state);
    output.resize(output.size() - held_.size());
  }
  return output;
}

std::string StopMatcher::Finish() { return std::exchange(held_, {}); }

}  // namespace fmaserver::engine
