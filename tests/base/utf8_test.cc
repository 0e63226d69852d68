#include "base/utf8.h"

#include <random>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace fmaserver {
namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";

std::string Encode(uint32_t code) {
  std::string out;
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | code >> 6);
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
  }
  if (code >= 0x80) out += static_cast<char>(0x80 | (code & 0x3F));
  return out;
}

TEST(Utf8Test, AcceptsEveryCharacterAndNoSurrogate) {
  for (uint32_t code = 0; code < 0x110000; ++code) {
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    ASSERT_EQ(ValidateUtf8(Encode(code)).ok(), !surrogate) << code;
  }
  EXPECT_FALSE(ValidateUtf8(Encode(0x110000)).ok());
}

TEST(Utf8Test, NamesTheFirstBadByte) {
  struct Case {
    std::string text;
    const char* message;
  };
  for (const auto& [text, message] : std::vector<Case>{
           {"abc\xFF", "byte 0xff at offset 3"},
           {"\xC3\xA9\x80", "byte 0x80 at offset 2"},
           {"\xC0\x80", "byte 0xc0 at offset 0"},
           {"\xE0\x9F\xBF", "byte 0xe0 at offset 0"},
           {"x\xF0\x8F\xBF\xBF", "byte 0xf0 at offset 1"},
           {"x\xF4\x90\x80\x80", "byte 0xf4 at offset 1"},
           {"\xED\xA0\x80", "byte 0xed at offset 0"},
           {"ab\xE2\x82", "byte 0xe2 at offset 2"},
           {"\xF5\x80\x80\x80", "byte 0xf5 at offset 0"},
       }) {
    testing::ExpectRefusal(ValidateUtf8(text), {message});
  }
}

TEST(Utf8Test, ReplacesMaximalInvalidParts) {
  const std::string r = kReplacement;
  EXPECT_EQ(ReplaceInvalidUtf8(std::string("a\0b", 3)), std::string("a\0b", 3));
  EXPECT_EQ(ReplaceInvalidUtf8("\xE2\x82"), r);
  EXPECT_EQ(ReplaceInvalidUtf8("\xE2\x82X"), r + "X");
  EXPECT_EQ(ReplaceInvalidUtf8("\xF0\x9F\x98\xF0\x9F\x98\x80"), r + "\xF0\x9F\x98\x80");
  EXPECT_EQ(ReplaceInvalidUtf8("\xC0\xAF"), r + r);
  // The example of Unicode 15, table 3-8.
  EXPECT_EQ(ReplaceInvalidUtf8("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a" + r + r + r + "b" + r + "c" + r + r + "d");
}

TEST(Utf8StreamTest, HoldsBackAnUnfinishedCharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Push("a\xF0\x9F"), "a");
  EXPECT_EQ(stream.Push("\x98"), "");
  EXPECT_EQ(stream.Push("\x80z"), "\xF0\x9F\x98\x80z");
  EXPECT_EQ(stream.Finish(), "");
  EXPECT_EQ(stream.Push("\xE2\x82"), "");
  EXPECT_EQ(stream.Finish(), kReplacement);
  EXPECT_EQ(stream.Push("\x82"), kReplacement);
}

/// Random bytes among which valid, invalid and unfinished sequences are all likely.
std::string RandomBytes(std::mt19937& random) {
  constexpr std::string_view kBytes = "a\x80\xBF\xC2\xE0\xA0\xE2\x82\xED\x9F\xF0\x90\xF4\x8F\xFF";
  std::string bytes;
  for (size_t length = random() % 40; length > 0; --length) {
    if (random() % 3 == 0) {
      bytes += Encode(random() % 0xD800);
    } else {
      bytes += kBytes[random() % kBytes.size()];
    }
  }
  return bytes;
}

TEST(Utf8StreamTest, CutsDoNotMatter) {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    const std::string bytes = RandomBytes(random);
    const std::string whole = ReplaceInvalidUtf8(bytes);
    ASSERT_TRUE(ValidateUtf8(whole).ok());
    if (ValidateUtf8(bytes).ok()) {
      ASSERT_EQ(whole, bytes);
    }

    Utf8Stream stream;
    std::string joined;
    for (size_t offset = 0; offset < bytes.size();) {
      const size_t length = 1 + random() % 5;
      const std::string part = stream.Push(std::string_view(bytes).substr(offset, length));
      ASSERT_TRUE(ValidateUtf8(part).ok());
      joined += part;
      offset += length;
    }
    ASSERT_EQ(joined + stream.Finish(), whole);
  }
}

}  // namespace
}  // namespace fmaserver
