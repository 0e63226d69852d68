#include "model_loader/segmentation/prefix_table.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace fmaserver::model {
namespace {

using Matches = std::vector<std::pair<size_t, int32_t>>;

Matches Find(const PrefixTable& table, std::string_view text) {
  Matches matches;
  table.ForEachPrefix(text, [&](size_t length, int32_t id) { matches.emplace_back(length, id); });
  return matches;
}

TEST(PrefixTableTest, GivesPrefixesShortestFirst) {
  const PrefixTable table({{"abc", 1}, {"a", 2}, {"b", 3}, {"abd", 4}, {"\xFFx", 5}});
  EXPECT_EQ(Find(table, "abcd"), Matches({{1, 2}, {3, 1}}));
  EXPECT_EQ(Find(table, "ab"), Matches({{1, 2}}));
  EXPECT_EQ(Find(table, "\xFFxy"), Matches({{2, 5}}));
  EXPECT_TRUE(Find(table, "xabc").empty());
  EXPECT_TRUE(Find(table, "").empty());
  EXPECT_EQ(table.LongestPrefix("abdabd"), 3U);
  EXPECT_EQ(PrefixTable().LongestPrefix("a"), 0U);
}

TEST(PrefixTableTest, FindsWhatATrialOfEveryEntryFinds) {
  std::vector<std::string> words;
  for (int bits = 0; bits < 3 * 3 * 3 * 3; bits += 2) {
    std::string word;
    for (int rest = bits; rest > 0; rest /= 3) word += "\x01z\xF0"[rest % 3];
    if (!word.empty()) words.push_back(word);
  }
  words.resize(std::set<std::string>(words.begin(), words.end()).size());
  std::vector<PrefixTable::Entry> entries;
  for (const std::string& word : words) entries.emplace_back(word, int32_t(entries.size()));
  const PrefixTable table(entries);
  for (const std::string& text : words) {
    size_t expected = 0;
    for (const std::string& word : words) expected += text.starts_with(word) ? 1 : 0;
    EXPECT_EQ(Find(table, text).size(), expected);
    EXPECT_EQ(table.LongestPrefix(text), text.size());
  }
}

}  // namespace
}  // namespace fmaserver::model
