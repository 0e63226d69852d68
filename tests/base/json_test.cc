#include "base/json.h"

#include "base/text.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace fmaserver {
namespace {

using testing::ExpectRefusal;

std::string Nested(size_t depth) {
  return "{\"a\":" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
}

TEST(JsonTest, ParsesAnObject) {
  const auto value = ParseJsonObject(R"({"a": [1, -2, 2.5, "x", null, true]})", "file");
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ((*value)["a"].size(), 6U);
}

TEST(JsonTest, RefusesWhatIsNoObject) {
  for (const char* text : {"[]", "1", "\"x\"", "null", "true"}) {
    ExpectRefusal(ParseJsonObject(text, "file").status(), {"file", "allowed: an object"});
  }
}

TEST(JsonTest, RefusesBadSyntaxWithItsPlace) {
  for (const char* text : {"", "{", "{\"a\":}", "{\"a\":1}x", "{\"a\":NaN}", "{\"a\":1e999}",
                           "{\"a\":\"\xFF\"}", "{'a':1}", "{\"a\":1,}"}) {
    ExpectRefusal(ParseJsonObject(text, "file").status(), {"file: not valid JSON at byte "});
  }
}

// Messages go to logs and to clients, which take only ASCII, and not much of it.
TEST(JsonTest, ComplaintsAboutAnyBytesAreShortAscii) {
  const std::string many(1 << 20, 'x');
  for (const std::string& text :
       {std::string("{\"a\xBE\": 1}"), std::string("{\"a\n\": 1}"), Concat("{\"a\": \"", many),
        Concat("{\"", many, "\": x}"), Concat("{\"a\": 1", std::string(1 << 20, '0'), "}")}) {
    const std::string message(ParseJsonObject(text, "file").status().message());
    EXPECT_FALSE(message.empty());
    EXPECT_LT(message.size(), 300U);
    for (const char c : message) EXPECT_TRUE(c >= ' ' && c <= '~') << static_cast<int>(c);
  }
}

TEST(JsonTest, RefusesDuplicateKeysAtEveryDepth) {
  ExpectRefusal(ParseJsonObject(R"({"a":1,"b":2,"a":3})", "file").status(),
                {"file: duplicate key \"a\""});
  ExpectRefusal(ParseJsonObject(R"({"a":[{"b":1,"\u0062":2}]})", "file").status(),
                {"duplicate key \"b\""});
  EXPECT_TRUE(ParseJsonObject(R"({"a":{"a":1},"b":{"a":1}})", "file").ok());
}

TEST(JsonTest, BoundsNesting) {
  EXPECT_TRUE(ParseJsonObject(Nested(16), "file").ok());
  ExpectRefusal(ParseJsonObject(Nested(17), "file").status(), {"nested deeper than the 16"});
  ExpectRefusal(ParseJsonObject(Concat("{\"a\":", std::string(1 << 20, '[')), "file").status(),
                {"nested deeper"});
}

TEST(JsonTest, BoundsTheNumberOfValues) {
  std::string text = "{\"a\":[0";
  for (int i = 0; i < 1 << 22; ++i) text += ",0";
  ExpectRefusal(ParseJsonObject(text + "]}", "file").status(), {"more JSON values than"});
}

TEST(JsonTest, IntegersAreExact) {
  EXPECT_EQ(AsInteger(nlohmann::json::parse("-7")), -7);
  EXPECT_EQ(AsInteger(nlohmann::json::parse("9223372036854775807")), INT64_MAX);
  EXPECT_EQ(AsInteger(nlohmann::json::parse("9223372036854775808")), std::nullopt);
  EXPECT_EQ(AsInteger(nlohmann::json::parse("8.0")), std::nullopt);
  EXPECT_EQ(AsInteger(nlohmann::json::parse("true")), std::nullopt);
}

TEST(JsonTest, ExcerptsAreShortPrintableAscii) {
  EXPECT_EQ(Excerpt("a\n\xC3\xA9"), "\"a\\n\\u00e9\"");
  EXPECT_EQ(Excerpt(nlohmann::json::parse("[1,{}]")), "[1,{}]");
  EXPECT_LE(Excerpt(nlohmann::json(std::vector<int>(1000))).size(), 83U);
}

}  // namespace
}  // namespace fmaserver
