// Score: a log-probability for every token but the first, and a sum that adds up.
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "base/text.h"
#include "tests/server/rpc/test_server.h"

namespace fmaserver::testing {
namespace {

struct Scored {
  std::vector<v1::TokenScore> tokens;
  std::vector<v1::ScoreSummary> summaries;
  grpc::Status status;
};

Scored Score(v1::Generation::Stub& stub, const v1::ScoreRequest& request) {
  Scored result;
  grpc::ClientContext context;
  const auto reader = stub.Score(&context, request);
  v1::ScoreResponse response;
  while (reader->Read(&response)) {
    for (const v1::TokenScore& token : response.scores().tokens()) result.tokens.push_back(token);
    if (response.has_summary()) result.summaries.push_back(response.summary());
  }
  result.status = reader->Finish();
  return result;
}

class ScoreTest : public ::testing::Test {
 protected:
  TestServer server_{ByteModelConfig(), {.num_slots = 2, .max_queue = 8, .step_tokens = 128}};
};

TEST_F(ScoreTest, SumsOverAllTokensButTheFirst) {
  v1::ScoreRequest request;
  request.set_text(Concat(std::string(300, 'a'), "tail"));
  const Scored result = Score(server_.stub(), request);
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  ASSERT_EQ(result.tokens.size(), 304U);
  ASSERT_EQ(result.summaries.size(), 1U);
  EXPECT_FALSE(result.tokens[0].has_logprob());
  double total = 0;
  for (size_t i = 1; i < result.tokens.size(); ++i) {
    ASSERT_TRUE(result.tokens[i].has_logprob());
    total += result.tokens[i].logprob();
  }
  EXPECT_DOUBLE_EQ(result.summaries[0].total_logprob(), total);
  EXPECT_EQ(result.summaries[0].scored_tokens(), 303U);
  EXPECT_GT(result.summaries[0].seconds(), 0);
}

TEST_F(ScoreTest, TokensCarryTheirBytes) {
  v1::ScoreRequest request;
  request.set_text("né");
  const Scored result = Score(server_.stub(), request);
  ASSERT_EQ(result.tokens.size(), 3U);
  EXPECT_EQ(result.tokens[0].token(), "n");
  EXPECT_EQ(result.tokens[1].token(), "\xc3");
  EXPECT_EQ(result.tokens[2].token_id(), 0xA9U);
}

TEST_F(ScoreTest, AlternativesAreBestFirst) {
  v1::ScoreRequest request;
  request.set_text("hello");
  request.set_top_logprobs(5);
  const Scored result = Score(server_.stub(), request);
  ASSERT_EQ(result.tokens.size(), 5U);
  for (size_t i = 1; i < result.tokens.size(); ++i) {
    const v1::TokenScore& token = result.tokens[i];
    ASSERT_EQ(token.top_size(), 5);
    EXPECT_GE(token.top(0).logprob(), token.logprob());
    for (int j = 1; j < 5; ++j) EXPECT_GE(token.top(j - 1).logprob(), token.top(j).logprob());
  }
}

TEST_F(ScoreTest, OneTokenHasNothingToScore) {
  v1::ScoreRequest request;
  request.mutable_token_ids()->add_ids(3);
  const Scored result = Score(server_.stub(), request);
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_EQ(result.tokens.size(), 1U);
  ASSERT_EQ(result.summaries.size(), 1U);
  EXPECT_EQ(result.summaries[0].scored_tokens(), 0U);
}

TEST_F(ScoreTest, AgreesWithGeneratedLogprobs) {
  v1::GenerateRequest generate = TextRequest("ab", 8);
  generate.set_logprobs(true);
  const Generated generated = Generate(server_.stub(), generate);
  std::vector<float> logprobs;
  for (const v1::Delta& delta : generated.deltas) {
    logprobs.insert(logprobs.end(), delta.logprobs().begin(), delta.logprobs().end());
  }
  v1::ScoreRequest request;
  for (const uint32_t id : {uint32_t{'a'}, uint32_t{'b'}}) request.mutable_token_ids()->add_ids(id);
  for (const uint32_t id : generated.TokenIds()) request.mutable_token_ids()->add_ids(id);
  const Scored scored = Score(server_.stub(), request);
  ASSERT_EQ(scored.tokens.size(), 2 + logprobs.size());
  for (size_t i = 0; i < logprobs.size(); ++i) {
    EXPECT_FLOAT_EQ(scored.tokens[2 + i].logprob(), logprobs[i]);
  }
}

// 100 alternatives for each of 40,000 tokens are some 40 MB, more than may wait for a reader.
v1::ScoreRequest LargeRequest() {
  v1::ScoreRequest request;
  request.set_text(std::string(40'000, 'a'));
  request.set_top_logprobs(100);
  return request;
}

TEST_F(ScoreTest, SlowReaderOnlySlowsItself) {
  grpc::ClientContext context;
  const auto reader = server_.stub().Score(&context, LargeRequest());
  v1::ScoreResponse response;
  ASSERT_TRUE(reader->Read(&response));
  size_t tokens = response.scores().tokens_size();
  // Long enough for a server that does not wait for its reader to finish everything.
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(server_.engine().FreeSlots(), 1);
  EXPECT_TRUE(Generate(server_.stub(), TextRequest("hello", 20)).status.ok());
  while (reader->Read(&response)) tokens += response.scores().tokens_size();
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(tokens, 40'000U);
}

TEST(ScoreStallTest, ReaderThatStaysBehindLosesTheCall) {
  engine::EngineOptions options{.num_slots = 2, .max_queue = 8, .step_tokens = 128};
  options.max_stall_seconds = 0.2;
  TestServer server(ByteModelConfig(), options);
  grpc::ClientContext context;
  const auto reader = server.stub().Score(&context, LargeRequest());
  v1::ScoreResponse response;
  ASSERT_TRUE(reader->Read(&response));
  ASSERT_TRUE(Eventually([&] { return server.engine().FreeSlots() == 2; }));
  while (reader->Read(&response)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
}

}  // namespace
}  // namespace fmaserver::testing
