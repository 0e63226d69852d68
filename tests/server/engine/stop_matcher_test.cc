// Stop strings, whole and in random pieces, against a search of the whole text.
#include "server/engine/stop_matcher.h"

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace fmaserver::engine {
namespace {

struct Outcome {
  std::string text;
  std::optional<std::string> stop;

  bool operator==(const Outcome&) const = default;
};

/// Tries every end from the left, and every stop string there.
Outcome Searched(const std::string& text, const std::vector<std::string>& stops, bool include) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::optional<std::string> longest;
    for (const std::string& stop : stops) {
      if (std::string_view(text).substr(0, end).ends_with(stop) &&
          (!longest || stop.size() > longest->size())) {
        longest = stop;
      }
    }
    if (longest) return {text.substr(0, include ? end : end - longest->size()), longest};
  }
  return {text, std::nullopt};
}

Outcome Streamed(const std::vector<std::string>& pieces, const std::vector<std::string>& stops,
                 bool include) {
  StopMatcher matcher(stops, include);
  Outcome outcome;
  for (const std::string& piece : pieces) outcome.text += matcher.Push(piece);
  outcome.text += matcher.Finish();
  if (matcher.matched() != nullptr) outcome.stop = *matcher.matched();
  return outcome;
}

TEST(StopMatcher, HoldsBackWhatMayBecomeAStopString) {
  const std::vector<std::string> stops = {"\n\nUser:", "END"};
  StopMatcher matcher(stops, false);
  EXPECT_EQ(matcher.Push("Hello"), "Hello");
  EXPECT_EQ(matcher.Push("\n"), "");
  EXPECT_EQ(matcher.Push("\nUse"), "");
  EXPECT_EQ(matcher.Push("ful E"), "\n\nUseful ");
  EXPECT_EQ(matcher.Push("N"), "");
  EXPECT_EQ(matcher.matched(), nullptr);
  EXPECT_EQ(matcher.Push("D of it"), "");
  ASSERT_NE(matcher.matched(), nullptr);
  EXPECT_EQ(*matcher.matched(), "END");
  EXPECT_EQ(matcher.Push("more"), "");
  EXPECT_EQ(matcher.Finish(), "");
}

TEST(StopMatcher, FinishReleasesWhatWasHeld) {
  const std::vector<std::string> stops = {"stop"};
  StopMatcher matcher(stops, false);
  EXPECT_EQ(matcher.Push("non-sto"), "non-");
  EXPECT_EQ(matcher.Finish(), "sto");
  EXPECT_EQ(matcher.matched(), nullptr);
}

TEST(StopMatcher, IncludesTheStopStringAndHoldsNothing) {
  const std::vector<std::string> stops = {"stop"};
  StopMatcher matcher(stops, true);
  EXPECT_EQ(matcher.Push("non-st"), "non-st");
  EXPECT_EQ(matcher.Push("op it"), "op");
  ASSERT_NE(matcher.matched(), nullptr);
}

TEST(StopMatcher, TheFirstEndWinsThenTheLongest) {
  EXPECT_EQ(Streamed({"xabcd"}, {"abcd", "bc"}, false), (Outcome{"xa", "bc"}));
  EXPECT_EQ(Streamed({"xabc"}, {"bc", "abc"}, false), (Outcome{"x", "abc"}));
  EXPECT_EQ(Streamed({"aab"}, {"ab"}, false), (Outcome{"a", "ab"}));
}

TEST(StopMatcher, WithoutStopStringsPassesAll) {
  EXPECT_EQ(Streamed({"any", "", "thing"}, {}, false), (Outcome{"anything", std::nullopt}));
}

TEST(StopMatcher, AnyCutGivesWhatASearchOfTheWholeTextGives) {
  std::mt19937 random(3);
  const auto text_of = [&](size_t length) {
    std::string text;
    for (size_t i = 0; i < length; ++i) text.push_back("ab"[random() % 2]);
    return text;
  };
  int matches = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops;
    for (int i = random() % 4; i > 0; --i) stops.push_back(text_of(1 + random() % 9));
    const std::string text = text_of(random() % 40);
    std::vector<std::string> pieces(1);
    for (const char byte : text) {
      if (random() % 3 == 0) pieces.emplace_back();
      pieces.back().push_back(byte);
    }
    const bool include = random() % 2 == 0;
    const Outcome expected = Searched(text, stops, include);
    ASSERT_EQ(Streamed(pieces, stops, include), expected) << text;
    matches += expected.stop.has_value() ? 1 : 0;
  }
  EXPECT_GT(matches, 5000);
  EXPECT_LT(matches, 18000);
}

// Every byte is given out as soon as no stop string can begin with it.
TEST(StopMatcher, HoldsNoMoreThanItMust) {
  std::mt19937 random(4);
  const std::vector<std::string> stops = {"abab", "bbb", "aabb"};
  for (int round = 0; round < 2000; ++round) {
    StopMatcher matcher(stops, false);
    std::string text;
    std::string output;
    while (matcher.matched() == nullptr) {
      text.push_back("abc"[random() % 3]);
      output += matcher.Push(std::string_view(text).substr(text.size() - 1));
      if (matcher.matched() != nullptr) break;
      size_t held = 0;
      for (const std::string& stop : stops) {
        for (size_t length = 1; length < stop.size(); ++length) {
          if (text.ends_with(stop.substr(0, length))) held = std::max(held, length);
        }
      }
      ASSERT_EQ(output, text.substr(0, text.size() - held));
    }
  }
}

}  // namespace
}  // namespace fmaserver::engine
