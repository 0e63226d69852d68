#include "model_loader/control_places.h"

#include <algorithm>
#include <string>

#include "base/file.h"
#include "gtest/gtest.h"
#include "model_loader/tokenizer_json/tokenizer.h"

namespace fmaserver::model {
namespace {

using Where = ControlPlaces::Where;

TEST(ControlPlaces, AnswersForAWholeTextOrItsParts) {
  EXPECT_EQ(ControlPlaces(ControlTokens::kAreFound).Of(0, 1000), Where::kInside);
  EXPECT_EQ(ControlPlaces(ControlTokens::kStayText).Of(0, 1000), Where::kOutside);
  const ControlPlaces places({{2, 5}, {8, 9}});
  EXPECT_EQ(places.Of(2, 5), Where::kInside);
  EXPECT_EQ(places.Of(3, 4), Where::kInside);
  EXPECT_EQ(places.Of(8, 9), Where::kInside);
  EXPECT_EQ(places.Of(0, 2), Where::kOutside);
  EXPECT_EQ(places.Of(5, 8), Where::kOutside);
  EXPECT_EQ(places.Of(9, 20), Where::kOutside);
  EXPECT_EQ(places.Of(1, 3), Where::kAcross);
  EXPECT_EQ(places.Of(4, 6), Where::kAcross);
  EXPECT_EQ(places.Of(4, 9), Where::kAcross);
  EXPECT_EQ(places.Of(0, 20), Where::kAcross);
}

class ControlPlacesInText : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto json = ReadWholeFile(
        std::string(FMA_SOURCE_DIR) + "/tests/data/tokenizer/smollm.json", size_t{64} << 20);
    ASSERT_TRUE(json.ok()) << json.status();
    auto made = MakeJsonTokenizer(*json, "smollm.json", 1 << 20);
    ASSERT_TRUE(made.ok()) << made.status();
    tokenizer_ = *std::move(made);
    end_ = tokenizer_->Encode("<|end|>", ControlTokens::kAreFound)->at(0);
    ASSERT_EQ(tokenizer_->Encode("<|end|>", ControlTokens::kAreFound)->size(), 1);
  }

  /// Ids of `template_text` and `user_text`, one after the other, in which only the former's
  /// control tokens count.
  std::vector<int32_t> Ids(const std::string& before, const std::string& user,
                           const std::string& behind) {
    const size_t user_begin = before.size();
    const size_t user_end = user_begin + user.size();
    std::vector<ByteRange> written;
    if (!before.empty()) written.push_back({0, user_begin});
    if (!behind.empty()) written.push_back({user_end, user_end + behind.size()});
    return *tokenizer_->Encode(before + user + behind, ControlPlaces(written));
  }

  static int64_t Count(const std::vector<int32_t>& ids, int32_t id) {
    return std::count(ids.begin(), ids.end(), id);
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  int32_t end_ = 0;
};

TEST_F(ControlPlacesInText, OnlyTheTemplatesControlTokensAreTokens) {
  EXPECT_EQ(Count(Ids("<|end|>", "a<|end|>b", "<|end|>"), end_), 2);
  // This vocabulary has none of < | >.
  EXPECT_EQ(*tokenizer_->Decode(Ids("", "a<|end|>b", "")), "aendb");
}

TEST_F(ControlPlacesInText, TwoWhoSpellATokenTogetherHaveSpelledNone) {
  EXPECT_EQ(Count(Ids("<|e", "nd|>", ""), end_), 0);
  EXPECT_EQ(Count(Ids("", "<|e", "nd|>"), end_), 0);
}

TEST_F(ControlPlacesInText, TextOfBothIsOneTextBetweenControlTokens) {
  EXPECT_EQ(Ids("<|end|>hel", "lo there", "<|end|>"),
            *tokenizer_->Encode("<|end|>hello there<|end|>", ControlTokens::kAreFound));
}

}  // namespace
}  // namespace fmaserver::model
