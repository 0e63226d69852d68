// Names: which texts are names, and random ids.
#include "base/names.h"
#include "base/id.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace fmaserver::testing {
namespace {

TEST(NamesTest, RandomIdsAreNewNamesThatNoCommandLineTakesForOptions) {
  std::set<std::string> ids;
  for (int i = 0; i < 10'000; ++i) {
    const std::string id = RandomId();
    ASSERT_EQ(id.size(), kRandomIdChars);
    ASSERT_TRUE(IsName(id)) << id;
    ASSERT_EQ(id.find('-'), std::string::npos) << id;
    ASSERT_TRUE(ids.insert(id).second) << id;
  }
}

TEST(NamesTest, NamesAreOneToSixtyFourOfTheAllowedCharacters) {
  for (const std::string name : {"a", "A-z_9", "-", "_"}) EXPECT_TRUE(IsName(name)) << name;
  EXPECT_TRUE(IsName(std::string(64, 'x')));
  EXPECT_FALSE(IsName(std::string(65, 'x')));
  for (const std::string text : {"", "..", "a/b", "a b", "\xc3\xa9", "a.b"}) {
    EXPECT_FALSE(IsName(text)) << text;
  }
  EXPECT_FALSE(IsName(std::string("a\0b", 3)));
}

TEST(NamesTest, ARefusedNameIsShown) {
  EXPECT_TRUE(CheckIsName("name", "a-b").ok());
  EXPECT_EQ(CheckIsName("name", "a b\n").message(),
            "name is \"a b\\n\"; allowed: 1 to 64 of A-Z a-z 0-9 _ and -");
}

}  // namespace
}  // namespace fmaserver::testing
