#include "model_loader/chat_template/marked_text.h"

#include <random>
#include <string>

#include "gtest/gtest.h"

namespace fmaserver::chat {
namespace {

// Each byte says itself where it comes from: '0', '1' or '2'.
MarkedText RandomText(std::mt19937& random) {
  MarkedText text;
  for (int runs = static_cast<int>(random() % 6); runs > 0; --runs) {
    const auto origin = static_cast<Origin>(random() % 3);
    text.Append(std::string(random() % 4, static_cast<char>('0' + static_cast<int>(origin))),
                origin);
  }
  return text;
}

void ExpectMarksFit(const MarkedText& text) {
  for (size_t i = 0; i < text.size(); ++i) {
    EXPECT_EQ(static_cast<int>(text.OriginAt(i)), text.bytes()[i] - '0') << text.bytes();
  }
  size_t begin = 0;
  for (const MarkedText::Run& run : text.runs()) {
    EXPECT_GT(run.end, begin);
    begin = run.end;
  }
  EXPECT_EQ(begin, text.size());
}

TEST(MarkedText, BytesKeepTheirOriginsHoweverTheyAreCutAndJoined) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    MarkedText text = RandomText(random);
    const MarkedText other = RandomText(random);
    text.Append(other);
    ExpectMarksFit(text);
    const size_t begin = random() % (text.size() + 1);
    const size_t end = begin + random() % (text.size() - begin + 1);
    const MarkedText slice = text.Slice(begin, end);
    EXPECT_EQ(slice.bytes(), text.bytes().substr(begin, end - begin));
    ExpectMarksFit(slice);
  }
}

TEST(MarkedText, NeighboursOfOneOriginAreOneRun) {
  MarkedText text("a");
  text.Append("b", Origin::kTemplate);
  text.Append(MarkedText("c"));
  EXPECT_EQ(text.runs().size(), 1);
  text.Append("d", Origin::kMessage);
  EXPECT_EQ(text.runs().size(), 2);
}

}  // namespace
}  // namespace fmaserver::chat
