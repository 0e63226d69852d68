// Stops, filters and alternatives as they appear in a Generate stream.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/server/rpc/test_server.h"

namespace fmaserver::testing {
namespace {

using ::testing::Each;
using ::testing::Not;

class StopTest : public ::testing::Test {
 protected:
  /// Lines of a, b and é, whose two bytes are two tokens.
  static v1::GenerateRequest Letters(uint32_t max_tokens) {
    v1::GenerateRequest request = TextRequest("hi", max_tokens);
    request.mutable_sampling()->set_seed(9);
    for (const uint32_t id : {uint32_t{'a'}, uint32_t{'b'}, 0xC3U, 0xA9U}) {
      request.mutable_sampling()->add_allowed_token_ids(id);
    }
    return request;
  }

  Generated Run(const v1::GenerateRequest& request) {
    Generated result = Generate(server_.stub(), request);
    EXPECT_TRUE(result.status.ok()) << result.status.error_message();
    EXPECT_EQ(result.finished.size(), 1U);
    return result;
  }

  TestServer server_{ByteModelConfig(), {.num_slots = 2, .max_queue = 8, .step_tokens = 32}};
};

TEST_F(StopTest, NoPartOfAStopStringIsSent) {
  const std::string whole = Run(Letters(200)).Text();
  for (const std::string stop : {"a", "ab", "é", "bé", "aab"}) {
    const size_t at = whole.find(stop);
    ASSERT_NE(at, std::string::npos) << stop;
    v1::GenerateRequest request = Letters(200);
    request.add_stop("no such text");
    request.add_stop(stop);
    const Generated result = Run(request);
    EXPECT_EQ(result.Text(), whole.substr(0, at));
    EXPECT_EQ(result.finished[0].reason(), v1::FINISH_REASON_STOP_SEQUENCE);
    EXPECT_EQ(result.finished[0].stop(), stop);
    EXPECT_FALSE(result.finished[0].has_stop_token_id());

    request.set_include_stop(true);
    EXPECT_EQ(Run(request).Text(), whole.substr(0, at + stop.size()));
  }
}

TEST_F(StopTest, StopTokenIsNamed) {
  v1::GenerateRequest request = Letters(200);
  request.add_stop_token_ids('b');
  const Generated result = Run(request);
  EXPECT_THAT(result.TokenIds(), Each(Not('b')));
  EXPECT_EQ(result.finished[0].reason(), v1::FINISH_REASON_STOP_SEQUENCE);
  EXPECT_EQ(result.finished[0].stop_token_id(), uint32_t{'b'});

  request.set_include_stop(true);
  EXPECT_EQ(Run(request).TokenIds().back(), uint32_t{'b'});
  request.set_min_tokens(30);
  EXPECT_GT(Run(request).TokenIds().size(), 30U);
}

TEST_F(StopTest, LengthNamesNoStop) {
  const Generated result = Run(Letters(5));
  EXPECT_EQ(result.finished[0].reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(result.finished[0].stopped_by_case(), v1::Finished::STOPPED_BY_NOT_SET);
}

TEST_F(StopTest, TimeLimitIsAReasonAndNotAnError) {
  v1::GenerateRequest request = Letters(1'000'000'000);
  request.set_time_limit_seconds(0.05);
  const Generated result = Run(request);
  EXPECT_EQ(result.finished[0].reason(), v1::FINISH_REASON_TIME_LIMIT);
  EXPECT_EQ(result.finished[0].usage().generated_tokens(), result.TokenIds().size());
}

TEST_F(StopTest, TopLogprobsComeWithEveryToken) {
  v1::GenerateRequest request = TextRequest("hi", 10);
  request.mutable_sampling()->set_temperature(0);
  request.set_logprobs(true);
  request.set_top_logprobs(3);
  for (const v1::Delta& delta : Run(request).deltas) {
    ASSERT_EQ(delta.top_logprobs_size(), delta.token_ids_size());
    for (int i = 0; i < delta.token_ids_size(); ++i) {
      const auto& tokens = delta.top_logprobs(i).tokens();
      ASSERT_EQ(tokens.size(), 3);
      EXPECT_EQ(tokens[0].token_id(), delta.token_ids(i));
      EXPECT_EQ(tokens[0].token(), std::string(1, static_cast<char>(delta.token_ids(i))));
      EXPECT_EQ(tokens[0].logprob(), delta.logprobs(i));
      EXPECT_GE(tokens[0].logprob(), tokens[1].logprob());
      EXPECT_GE(tokens[1].logprob(), tokens[2].logprob());
    }
  }
}

}  // namespace
}  // namespace fmaserver::testing
