// The file of --config: what people write, and any value there and back.
#include "server/config_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace fmaserver::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// The values of the only key of `text`.
std::vector<std::string> ValuesOf(const std::string& text) {
  const auto entries = ParseConfigText(text);
  if (!entries.ok() || entries->size() != 1) {
    ADD_FAILURE() << text << ": " << entries.status();
    return {};
  }
  return entries->front().values;
}

TEST(ConfigTextTest, WhatPeopleWrite) {
  EXPECT_THAT(ValuesOf("slots = 16"), ElementsAre("16"));
  EXPECT_THAT(ValuesOf("slots=16 # a comment\r\n"), ElementsAre("16"));
  EXPECT_THAT(ValuesOf("listen = 0.0.0.0:50051"), ElementsAre("0.0.0.0:50051"));
  EXPECT_THAT(ValuesOf("model = \"/srv/a#b, c\"  # the large one"), ElementsAre("/srv/a#b, c"));
  EXPECT_THAT(ValuesOf("model = '/srv/a \"b\" \\x'"), ElementsAre("/srv/a \"b\" \\x"));
  EXPECT_THAT(ValuesOf(R"(model = "a\"b\\c\td")"), ElementsAre("a\"b\\c\td"));
  EXPECT_THAT(ValuesOf("session-dir = /srv/a#b c"), ElementsAre("/srv/a#b c"));
  EXPECT_THAT(ValuesOf("model = [\"a\", 'b', c]"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(ValuesOf("model = [\n  \"a\",  # first\n  \"b\",\n]\n"), ElementsAre("a", "b"));
  EXPECT_THAT(ValuesOf("model = []"), ElementsAre());
  EXPECT_THAT(ValuesOf("log-prompts"), ElementsAre("true"));
  EXPECT_THAT(ValuesOf("tokens ="), ElementsAre(""));
  EXPECT_THAT(ValuesOf("\xEF\xBB\xBFslots = 1"), ElementsAre("1"));
  EXPECT_TRUE(ParseConfigText("")->empty());
  EXPECT_TRUE(ParseConfigText("# nothing\n; at all\n\n")->empty());
}

TEST(ConfigTextTest, KeysHaveTheirLines) {
  const auto entries = ParseConfigText("# one\na = 1\n\nb = [1,\n2]\nc = 3\n");
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 3U);
  EXPECT_EQ((*entries)[0].line, 2);
  EXPECT_EQ((*entries)[1].line, 4);
  EXPECT_EQ((*entries)[2].line, 6);
  EXPECT_EQ((*entries)[2].key, "c");
}

TEST(ConfigTextTest, WhatIsWrongIsNamedWithItsLine) {
  for (const char* text : {"\n[engine]", "\na = \"b", "\na = \"b\" c", "\na = [1, 2",
                           "\na = [\"b\" c]", "\na = \"\\q\"", "\na = 'b\n'"}) {
    const auto entries = ParseConfigText(text);
    ASSERT_FALSE(entries.ok()) << text;
    EXPECT_THAT(std::string(entries.status().message()), HasSubstr("--config, line 2: ")) << text;
  }
  EXPECT_THAT(std::string(ParseConfigText(std::string("\xFF\xFEs\0", 4)).status().message()),
              HasSubstr("UTF-16"));
}

TEST(ConfigTextTest, AnyValueComesBack) {
  std::mt19937 random(11);
  const std::string common = "\"'\\#,;[]= \t\n\r0x9aF\xC3\xA9\xFC";
  for (int i = 0; i < 50'000; ++i) {
    std::string value;
    for (size_t left = random() % 12; left > 0; --left) {
      value +=
          random() % 4 == 0 ? static_cast<char>(random() % 256) : common[random() % common.size()];
    }
    ASSERT_THAT(ValuesOf("model=" + ConfigValue(value) + "\n"), ElementsAre(value));
    ASSERT_THAT(ValuesOf("model=[" + ConfigValue(value) + ", 7]"), ElementsAre(value, "7"));
  }
}

TEST(ConfigTextTest, AnyBytesAreRefusedOrRead) {
  std::mt19937 random(12);
  const std::string valid = "# c\nmodel = [\"a\\x41\", 'b']\nslots = 3\n";
  for (int i = 0; i < 50'000; ++i) {
    std::string text = valid;
    for (int changes = 0; changes < 3; ++changes) {
      text[random() % text.size()] = static_cast<char>(random());
    }
    const auto entries = ParseConfigText(text);
    EXPECT_TRUE(entries.ok() || absl::IsInvalidArgument(entries.status())) << entries.status();
  }
}

}  // namespace
}  // namespace fmaserver::testing
