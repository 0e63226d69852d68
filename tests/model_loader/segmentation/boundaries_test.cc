#include "model_loader/segmentation/boundaries.h"

#include <initializer_list>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace fmaserver::model {
namespace {

Boundaries Joining(std::initializer_list<const char*> pieces, Unit unit = Unit::kCharacter) {
  Boundaries boundaries(unit);
  for (const char* piece : pieces) boundaries.Join(piece);
  return boundaries;
}

std::vector<std::string> Stretches(const Boundaries& boundaries, std::string_view text) {
  std::vector<std::string> stretches;
  while (!text.empty()) {
    stretches.emplace_back(text.substr(0, boundaries.FirstStretch(text)));
    text.remove_prefix(stretches.back().size());
  }
  return stretches;
}

TEST(BoundariesTest, ATextIsCutWhereNoPieceLiesAcross) {
  const Boundaries boundaries = Joining({"a", "b", "ab",
                                         "\xE2\x96\x81"
                                         "a"});
  EXPECT_EQ(Stretches(boundaries, "abab"), std::vector<std::string>({"ab", "ab"}));
  EXPECT_EQ(Stretches(boundaries,
                      "ba\xE2\x96\x81"
                      "ab"),
            std::vector<std::string>({"b", "a",
                                      "\xE2\x96\x81"
                                      "ab"}));
  EXPECT_EQ(Stretches(boundaries, "xyz"), std::vector<std::string>({"x", "y", "z"}));
}

TEST(BoundariesTest, CharactersStayWhole) {
  const Boundaries boundaries = Joining({"a"});
  EXPECT_EQ(Stretches(boundaries,
                      "\xC3\xA9\xF0\x9F\x98\x80"
                      "a"),
            std::vector<std::string>({"\xC3\xA9", "\xF0\x9F\x98\x80", "a"}));
  EXPECT_EQ(Stretches(boundaries,
                      "\x80\x80"
                      "a\xFF"),
            std::vector<std::string>({"\x80\x80", "a", "\xFF"}));
}

TEST(BoundariesTest, BytesOfACharacterMayPart) {
  const Boundaries boundaries = Joining({"\xC3\xA9"}, Unit::kByte);
  EXPECT_EQ(Stretches(boundaries, "\xC3\xA9\xC3\xA8"),
            std::vector<std::string>({"\xC3\xA9", "\xC3", "\xA8"}));
}

TEST(BoundariesTest, AByteCanBeJoinedWithEveryOther) {
  Boundaries boundaries = Joining({"ab"});
  boundaries.JoinEverywhere('?');
  EXPECT_EQ(Stretches(boundaries, "ba?ab"), std::vector<std::string>({"b", "a?ab"}));
}

}  // namespace
}  // namespace fmaserver::model
