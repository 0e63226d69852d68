// Stop strings in a text that arrives in pieces.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fmaserver::engine {

/// Passes a text on up to the first stop string. However the text is cut, the outputs joined are
/// the same. The first stop string is the one that ends first, and the longest of those that end
/// there.
class StopMatcher {
 public:
  /// No string in `stops` is empty. With `include` the stop string itself is passed on too.
  StopMatcher(std::span<const std::string> stops, bool include);
  StopMatcher(const StopMatcher&) = delete;
  StopMatcher& operator=(const StopMatcher&) = delete;

  /// Returns what is certain to be output after `text`. Holds back what may be the start of a stop
  /// string (less than the longest of them), and drops everything after a stop string.
  std::string Push(std::string_view text);

  /// The text ends here: returns what was held back.
  std::string Finish();

  /// The stop string found, or null.
  const std::string* matched() const { return matched_; }

 private:
  /// The automaton of Knuth, Morris and Pratt.
  struct Pattern {
    std::string text;
    std::vector<size_t> fallback;  // [i]: longest proper border of the first i + 1 bytes
    size_t state = 0;              // bytes of `text` that the input ends with
  };

  static Pattern MakePattern(const std::string& text);
  static void Advance(Pattern& pattern, char byte);
  const Pattern& Longest() const;

  const bool include_;
  std::vector<Pattern> patterns_;
  std::string held_;  // without `include_`: the last Longest().state bytes
  const std::string* matched_ = nullptr;
};

}  // namespace fmaserver::engine
