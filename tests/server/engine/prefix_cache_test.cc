// The prefix cache against a plain list of what was put in.
#include "server/engine/prefix_cache.h"

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace fmaserver::testing {
namespace {

using Tokens = std::vector<int32_t>;

engine::SnapshotPtr State(int64_t tokens, int64_t bytes = 100) {
  return std::make_shared<engine::Snapshot>(tokens, bytes);
}

Tokens First(const Tokens& tokens, size_t count) {
  return {tokens.begin(), tokens.begin() + static_cast<int64_t>(count)};
}

/// Has few different tokens and shared beginnings, so that prompts share and part everywhere.
Tokens RandomPrompt(std::mt19937& random, const std::vector<Tokens>& earlier) {
  Tokens prompt;
  if (!earlier.empty() && random() % 4 != 0) {
    const Tokens& base = earlier[random() % earlier.size()];
    prompt = First(base, random() % (base.size() + 1));
  }
  const size_t more = random() % 100;
  for (size_t i = 0; i < more; ++i) prompt.push_back(static_cast<int32_t>(random() % 2));
  return prompt;
}

TEST(PrefixCache, FindsTheLongestPrefixOfRandomPrompts) {
  engine::PrefixCache cache(int64_t{1} << 40);
  std::mt19937 random(1);
  std::vector<Tokens> prompts;
  std::map<std::pair<std::string, Tokens>, engine::SnapshotPtr> kept;
  int hits = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string scope = random() % 2 == 0 ? "a" : "b";
    const Tokens prompt = RandomPrompt(random, prompts);
    engine::SnapshotPtr expected;
    for (size_t count = prompt.size(); count-- > 1 && expected == nullptr;) {
      const auto found = kept.find({scope, First(prompt, count)});
      if (found != kept.end()) expected = found->second;
    }
    const engine::PrefixCache::Lookup lookup = cache.Find(scope, prompt);
    ASSERT_EQ(lookup.state.slot, expected)
        << "prompt " << i << " of " << prompt.size() << " tokens";
    hits += expected != nullptr;
    for (const int64_t point : lookup.points) {
      ASSERT_GT(point, expected == nullptr ? 0 : expected->tokens());
      ASSERT_LT(point, std::ssize(prompt));
    }
    if (prompt.size() > engine::PrefixCache::kBlock) {
      const auto least = static_cast<int64_t>(engine::PrefixCache::kBlock);
      const int64_t count = least + static_cast<int64_t>(random() % (prompt.size() - least + 1));
      const engine::SnapshotPtr state = State(count);
      cache.Insert(scope, prompt, state);
      kept[{scope, First(prompt, static_cast<size_t>(count))}] = state;
    }
    prompts.push_back(prompt);
  }
  EXPECT_GT(hits, 500);
}

TEST(PrefixCache, ThirdPromptFindsWhereTheFirstTwoPart) {
  for (size_t shared = engine::PrefixCache::kBlock; shared < 200; ++shared) {
    engine::PrefixCache cache(int64_t{1} << 40);
    const auto prompt = [&](int32_t own) {
      Tokens tokens(shared, 7);
      tokens.insert(tokens.end(), 100, own);
      return tokens;
    };
    const auto read = [&](const Tokens& tokens) {
      engine::PrefixCache::Lookup lookup = cache.Find("", tokens);
      for (const int64_t point : lookup.points) cache.Insert("", tokens, State(point));
      return lookup.state.tokens();
    };
    EXPECT_EQ(read(prompt(1)), 0);
    EXPECT_EQ(read(prompt(2)), 0);
    const auto block = static_cast<int64_t>(engine::PrefixCache::kBlock);
    EXPECT_EQ(read(prompt(3)), static_cast<int64_t>(shared) / block * block);
    EXPECT_EQ(read(prompt(1)), static_cast<int64_t>(shared) + 99) << "all but the last token";
  }
}

TEST(PrefixCache, LongPromptsGetABoundedGrid) {
  engine::PrefixCache cache(int64_t{1} << 40);
  const engine::PrefixCache::Lookup lookup = cache.Find("", Tokens(1'000'000, 1));
  EXPECT_GE(std::ssize(lookup.points), 8);
  EXPECT_LE(std::ssize(lookup.points), engine::PrefixCache::kMaxGridPoints + 1);
  EXPECT_EQ(lookup.points.back(), 999'999);
}

TEST(PrefixCache, StaysWithinItsBudgetAndForgetsTheOldest) {
  constexpr int64_t kBudget = 1 << 20;
  engine::PrefixCache cache(kBudget);
  std::mt19937 random(2);
  Tokens favourite(100, 3);
  cache.Insert("", favourite, State(100, 10'000));
  for (int i = 0; i < 2000; ++i) {
    Tokens tokens(40 + random() % 400);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 1000);
    cache.Insert("", tokens, State(std::ssize(tokens), 10'000));
    ASSERT_LE(cache.bytes(), kBudget);
    favourite.push_back(3);
    ASSERT_NE(cache.Find("", favourite).state.slot, nullptr) << "used again and again";
    favourite.pop_back();
  }
  EXPECT_GT(cache.bytes(), kBudget / 2);
  cache.Insert("", favourite, State(100, 2 * kBudget));
  EXPECT_EQ(cache.bytes(), 0) << "a state larger than the budget pushes all out, itself too";
}

}  // namespace
}  // namespace fmaserver::testing
