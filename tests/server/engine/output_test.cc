// The output of a sample, token by token, without a model.
#include "server/engine/output.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/engine/validate.h"
#include "tests/server/engine/engine_fixture.h"

namespace fmaserver::testing {
namespace {

using engine::Ending;
using engine::FinishReason;

constexpr int32_t kEos = 257;

/// An output with the byte tokenizer, whose tokens are bytes, and what its sink was told.
class Said {
 public:
  explicit Said(engine::GenerateRequest request, int32_t index = 0)
      : request_(*engine::Validate(std::move(request), SmallConfig())),
        output_(request_, index, tokenizer_.get(), sink_) {}

  /// Accepts tokens up to the first that ends the output.
  std::optional<Ending> Say(const std::string& text) {
    for (const char byte : text) {
      if (auto ending = Say(static_cast<uint8_t>(byte))) return ending;
    }
    return std::nullopt;
  }
  std::optional<Ending> Say(int32_t token) {
    return output_.Accept({.token = token, .logprob = -0.5F, .top = {{token, -0.5F}}});
  }

  engine::Output& operator*() { return output_; }
  engine::Output* operator->() { return &output_; }
  const RecordingGenerateSink& sink() const { return sink_; }

 private:
  const std::shared_ptr<const model::Tokenizer> tokenizer_ =
      model::MakeByteTokenizer(SmallConfig().vocab_size);
  const engine::ValidGenerateRequest request_;
  RecordingGenerateSink sink_;
  engine::Output output_;
};

engine::GenerateRequest Request(int64_t max_tokens = 100) {
  engine::GenerateRequest request;
  request.prompt = {'x'};
  request.max_tokens = max_tokens;
  return request;
}

TEST(Output, TellsEachTokenWithItsTextAndWhatWasAskedFor) {
  engine::GenerateRequest request = Request();
  request.logprobs = true;
  request.top_logprobs = 1;
  Said said(request);
  EXPECT_EQ(said.Say("abc"), std::nullopt);
  EXPECT_EQ(said.sink().text, "abc");
  EXPECT_EQ(said.sink().tokens, (std::vector<int32_t>{'a', 'b', 'c'}));
  EXPECT_EQ(said.sink().logprobs, (std::vector<float>{-0.5F, -0.5F, -0.5F}));
  ASSERT_EQ(said.sink().top_logprobs.size(), 3U);
  EXPECT_EQ(said.sink().top_logprobs[1][0].token, 'b');

  Said bare(Request());
  bare.Say("abc");
  EXPECT_TRUE(bare.sink().logprobs.empty());
  EXPECT_TRUE(bare.sink().top_logprobs.empty());
}

TEST(Output, EndsWithTheLengthAtTheLastToken) {
  Said said(Request(3));
  const auto ending = said.Say("abcdef");
  ASSERT_TRUE(ending.has_value());
  EXPECT_EQ(ending->reason, FinishReason::kLength);
  EXPECT_EQ(said.sink().text, "abc");
  EXPECT_EQ(said->size(), 3);
}

TEST(Output, EndsAtEosWhichIsChosenButNotSaid) {
  Said said(Request());
  said.Say("ab");
  const auto ending = said.Say(kEos);
  ASSERT_TRUE(ending.has_value());
  EXPECT_EQ(ending->reason, FinishReason::kEos);
  EXPECT_EQ(ending->stop_token, kEos);
  EXPECT_EQ(said->size(), 2);
  EXPECT_EQ(said->chosen(), (std::vector<int32_t>{'a', 'b', kEos}));
  EXPECT_EQ(said.sink().tokens, (std::vector<int32_t>{'a', 'b'}));
}

TEST(Output, EndsAtAStopTokenWithItOrWithout) {
  for (const bool include : {false, true}) {
    engine::GenerateRequest request = Request();
    request.stop_token_ids = {'!'};
    request.include_stop = include;
    Said said(request);
    const auto ending = said.Say("hi! there");
    ASSERT_TRUE(ending.has_value());
    EXPECT_EQ(ending->reason, FinishReason::kStopSequence);
    EXPECT_EQ(ending->stop_token, '!');
    EXPECT_EQ(said.sink().text, include ? "hi!" : "hi");
  }
}

TEST(Output, EndsAtAStopStringAndHoldsItsStartBack) {
  engine::GenerateRequest request = Request();
  request.stop = {"END"};
  Said said(request);
  EXPECT_EQ(said.Say("the EN"), std::nullopt);
  EXPECT_EQ(said.sink().text, "the ");
  const auto ending = said.Say("D of it");
  ASSERT_TRUE(ending.has_value());
  EXPECT_EQ(ending->stop, "END");
  EXPECT_EQ(said->Finish(), "");
  EXPECT_EQ(said.sink().text, "the ");

  Said open(request);
  open.Say("the EN");
  EXPECT_EQ(open->Finish(), "EN");
}

TEST(Output, NothingStopsItBeforeItsMinimum) {
  engine::GenerateRequest request = Request();
  request.min_tokens = 4;
  request.stop = {"b"};
  request.stop_token_ids = {'!'};
  Said said(request);
  EXPECT_EQ(std::ssize(said->Suppressed()), 2) << "EOS and the stop token";
  EXPECT_EQ(said.Say("abcd"), std::nullopt) << "a stop string does not count yet";
  EXPECT_TRUE(said->Suppressed().empty());
  EXPECT_TRUE(said.Say("ab").has_value());
  EXPECT_EQ(said.sink().text, "abcda");
}

TEST(Output, GoesOnWhereAnEarlierRunEnded) {
  engine::GenerateRequest request = Request(6);
  request.stop = {"xyz"};
  Said said(request);
  for (const int32_t token : {'a', 'x', 'y'}) said->Skip(token);
  EXPECT_TRUE(said.sink().tokens.empty()) << "told by the earlier run";
  const auto ending = said.Say("z");
  ASSERT_TRUE(ending.has_value());
  EXPECT_EQ(ending->stop, "xyz") << "which began in the earlier run";
  EXPECT_EQ(said->chosen(), (std::vector<int32_t>{'a', 'x', 'y', 'z'}));
}

TEST(Output, HoldsBackWhatIsNoWholeCharacter) {
  Said said(Request());
  said.Say("\xC3");
  EXPECT_EQ(said.sink().text, "");
  said.Say("\xA9");
  EXPECT_EQ(said.sink().text, "\xC3\xA9");
  said.Say("\xE2\x82");
  EXPECT_NE(said->Finish(), "") << "the replacement of an unfinished character";
}

}  // namespace
}  // namespace fmaserver::testing
