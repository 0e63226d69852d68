#include "model_loader/sentencepiece/chars_map.h"

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace fmaserver::model {
namespace {

using std::string_literals::operator""s;
using testing::ExpectRefusal;

std::string Blob(const std::vector<uint32_t>& units, const std::string& replacements) {
  std::string blob;
  const auto append = [&blob](uint32_t word) {
    for (int shift = 0; shift < 32; shift += 8) blob += static_cast<char>(word >> shift & 0xFF);
  };
  append(static_cast<uint32_t>(units.size() * 4));
  for (const uint32_t unit : units) append(unit);
  return blob + replacements;
}

/// A trie by hand: root at 0 with offset 256; "A" (0x41) at 256 ^ 0x41, its leaf at 512.
std::vector<uint32_t> TrieOfA(uint32_t value) {
  std::vector<uint32_t> units(1024, 0);
  units[0] = 256U << 10;
  const uint32_t node = 256 ^ 'A';
  units[node] = (node ^ 512U) << 10 | 1U << 8 | 'A';
  units[512] = value | 1U << 31;
  return units;
}

TEST(CharsMapTest, NoBytesAreNoRules) {
  const auto map = CharsMap::Parse("", "t");
  ASSERT_TRUE(map.ok());
  EXPECT_FALSE(map->Find("abc").has_value());
}

TEST(CharsMapTest, FindsARule) {
  const auto map = CharsMap::Parse(Blob(TrieOfA(3), "xx\0bb\0"s), "t");
  ASSERT_TRUE(map.ok()) << map.status();
  const auto match = map->Find("AA");
  ASSERT_TRUE(match.has_value());
  EXPECT_EQ(match->length, 1U);
  EXPECT_EQ(match->replacement, "bb");
  EXPECT_FALSE(map->Find("B").has_value());
  EXPECT_FALSE(map->Find("").has_value());
}

TEST(CharsMapTest, SurvivesBrokenLinks) {
  std::vector<uint32_t> units = TrieOfA(1U << 30);
  EXPECT_EQ(CharsMap::Parse(Blob(units, "xx\0"s), "t")->Find("A")->replacement, "");
  units[256 ^ 'A'] = 0x1FFFFFU << 10 | 1U << 8 | 'A';
  EXPECT_EQ(CharsMap::Parse(Blob(units, "xx\0"s), "t")->Find("A")->replacement, "xx");
  units[0] = 0xFFFFFFFF;
  EXPECT_FALSE(CharsMap::Parse(Blob(units, "xx\0"s), "t")->Find("A").has_value());
}

TEST(CharsMapTest, RefusesSizesThatDoNotFit) {
  for (const std::string& bytes : {"\x01"s, "\x00\x00\x00\x00"s, "\x04\x00\x00\x00"s,
                                   "\x05\x00\x00\x00xxxxxxxx"s, "\xFF\xFF\xFF\xFFxxxxxxxx"s}) {
    ExpectRefusal(CharsMap::Parse(bytes, "t").status(), {"t: trie size of", "allowed: "});
  }
  ExpectRefusal(CharsMap::Parse(Blob({0}, std::string(1025, 'x')), "t").status(),
                {"t: longest replacement", "1025", "at most 1024"});
}

}  // namespace
}  // namespace fmaserver::model
