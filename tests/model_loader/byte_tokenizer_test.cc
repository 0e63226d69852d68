#include "gtest/gtest.h"
#include "model_loader/tokenizer.h"
#include "tests/support/status_matchers.h"

namespace fmaserver::model {
namespace {

TEST(ByteTokenizerTest, AnIdIsAByte) {
  const auto tokenizer = MakeByteTokenizer(300);
  const std::string text("h\xC3\xA9\0", 4);
  const auto ids = tokenizer->Encode(text);
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_EQ(*ids, std::vector<int32_t>({'h', 0xC3, 0xA9, 0}));
  EXPECT_EQ(*tokenizer->Decode(*ids), text);
  EXPECT_EQ(tokenizer->TokenBytes(0xC3), "\xC3");
  EXPECT_EQ(tokenizer->VocabSize(), 300);
  EXPECT_EQ(tokenizer->Kind(), "bytes");
}

TEST(ByteTokenizerTest, SpecialsHaveNoText) {
  const auto tokenizer = MakeByteTokenizer(300);
  EXPECT_EQ(tokenizer->TokenBytes(256), "");
  EXPECT_EQ(*tokenizer->Decode(std::vector<int32_t>{'a', 299, 'b'}), "ab");
}

TEST(ByteTokenizerTest, RepairsWhatIsNoText) {
  const auto tokenizer = MakeByteTokenizer(256);
  EXPECT_EQ(*tokenizer->Decode(std::vector<int32_t>{'a', 0xC3}), "a\xEF\xBF\xBD");
}

TEST(ByteTokenizerTest, RefusesBadTextAndBadIds) {
  const auto tokenizer = MakeByteTokenizer(256);
  testing::ExpectRefusal(tokenizer->Encode("ab\xFF").status(), {"UTF-8", "offset 2"});
  for (const int32_t id : {-1, 256}) {
    const absl::Status status = tokenizer->Decode(std::vector<int32_t>{id}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("allowed: 0 to 255"));
  }
}

}  // namespace
}  // namespace fmaserver::model
