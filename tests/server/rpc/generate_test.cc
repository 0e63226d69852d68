// Generate: the contents of a stream and their order, and that its text consists of whole
// characters.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "tests/server/rpc/test_server.h"

namespace fmaserver::testing {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

class GenerateTest : public ::testing::Test {
 protected:
  TestServer server_{ByteModelConfig(), {.num_slots = 4, .max_queue = 8, .step_tokens = 32}};
};

TEST_F(GenerateTest, StreamsTokensThenFinishes) {
  const Generated result = Generate(server_.stub(), TextRequest("Once upon", 20));
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_EQ(result.TokenIds().size(), 20U);
  ASSERT_EQ(result.finished.size(), 1U);
  EXPECT_EQ(result.finished[0].reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(result.finished[0].usage().prompt_tokens(), 9U);
  EXPECT_EQ(result.finished[0].usage().generated_tokens(), 20U);
  EXPECT_GT(result.finished[0].usage().prefill_seconds(), 0);
  EXPECT_GT(result.finished[0].usage().decode_seconds(), 0);
}

TEST_F(GenerateTest, DefaultsTo16Tokens) {
  v1::GenerateRequest request;
  request.set_text("x");
  EXPECT_EQ(Generate(server_.stub(), request).TokenIds().size(), 16U);
}

TEST_F(GenerateTest, TextAndItsTokenIdsAreTheSamePrompt) {
  v1::GenerateRequest by_ids = TextRequest("", 30);
  by_ids.mutable_token_ids()->add_ids('h');
  by_ids.mutable_token_ids()->add_ids('i');
  EXPECT_EQ(Generate(server_.stub(), TextRequest("hi", 30)).TokenIds(),
            Generate(server_.stub(), by_ids).TokenIds());
}

TEST_F(GenerateTest, LogprobsComeWhenAskedFor) {
  v1::GenerateRequest request = TextRequest("hi", 10);
  request.set_logprobs(true);
  for (const v1::Delta& delta : Generate(server_.stub(), request).deltas) {
    EXPECT_EQ(delta.logprobs_size(), delta.token_ids_size());
    for (const float logprob : delta.logprobs()) EXPECT_LE(logprob, 0);
  }
  request.set_logprobs(false);
  for (const v1::Delta& delta : Generate(server_.stub(), request).deltas) {
    EXPECT_EQ(delta.logprobs_size(), 0);
  }
}

TEST_F(GenerateTest, AttentionSharesComeWhenAskedFor) {
  v1::GenerateRequest request = TextRequest(std::string(70, 'a'), 20);
  const Generated silent = Generate(server_.stub(), request);
  for (const v1::Delta& delta : silent.deltas) EXPECT_EQ(delta.attention_shares_size(), 0);
  request.set_attention_shares(true);
  const Generated result = Generate(server_.stub(), request);
  const model::ModelConfig config = ByteModelConfig();
  float far = 0;
  for (const v1::Delta& delta : result.deltas) {
    ASSERT_EQ(delta.attention_shares_size(), delta.token_ids_size());
    for (const v1::AttentionShares& token : delta.attention_shares()) {
      ASSERT_EQ(token.layers_size(), config.num_layers);
      for (const v1::LayerShares& layer : token.layers()) {
        ASSERT_EQ(layer.levels_size(), config.attention.hierarchy.num_levels);
        const float levels = std::accumulate(layer.levels().begin(), layer.levels().end(), 0.0F);
        EXPECT_NEAR(layer.sinks() + layer.near_field() + levels + layer.opened_units(), 1, 1e-5);
        EXPECT_GT(layer.near_field(), 0);
        far += levels;
      }
    }
  }
  EXPECT_GT(far, 0);
  EXPECT_EQ(result.TokenIds(), silent.TokenIds());
}

TEST_F(GenerateTest, ProgressOnlyForPromptsOfSeveralSteps) {
  EXPECT_THAT(Generate(server_.stub(), TextRequest(std::string(32, 'a'), 1)).progress, IsEmpty());
  const std::vector<uint64_t> progress =
      Generate(server_.stub(), TextRequest(std::string(80, 'a'), 1)).progress;
  // Reports are merged when steps are faster than the connection.
  ASSERT_THAT(progress, Not(IsEmpty()));
  EXPECT_TRUE(std::ranges::is_sorted(progress));
  EXPECT_EQ(progress.back(), 80U);
}

TEST_F(GenerateTest, TextIsWholeCharactersAndAddsUpToTheTokens) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    v1::GenerateRequest request = TextRequest("é", 100);
    request.mutable_sampling()->set_seed(seed);
    const Generated result = Generate(server_.stub(), request);
    ASSERT_TRUE(result.status.ok()) << result.status.error_message();
    for (const v1::Delta& delta : result.deltas) EXPECT_TRUE(ValidateUtf8(delta.text()).ok());

    v1::DetokenizeRequest tokens;
    for (const uint32_t id : result.TokenIds()) tokens.add_token_ids(id);
    v1::DetokenizeResponse whole;
    grpc::ClientContext context;
    ASSERT_TRUE(server_.stub().Detokenize(&context, tokens, &whole).ok());
    EXPECT_EQ(result.Text(), whole.text());
  }
}

TEST_F(GenerateTest, HeadersArriveBeforeThePromptIsRead) {
  const v1::GenerateRequest request = TextRequest(std::string(2'000'000, 'a'), 1);
  grpc::ClientContext context;
  const auto reader = server_.stub().Generate(&context, request);
  reader->WaitForInitialMetadata();
  EXPECT_TRUE(Eventually([&] { return server_.engine().FreeSlots() == 3; }));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST(GenerateWithoutTokenizerTest, ServesTokenIdsWithEmptyText) {
  TestServer server(IdModelConfig());
  v1::GenerateRequest request;
  request.mutable_token_ids()->add_ids(255);
  const Generated result = Generate(server.stub(), request);
  EXPECT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_EQ(result.TokenIds().size(), 16U);
  EXPECT_EQ(result.Text(), "");
}

TEST(GenerateWithEosTest, EndsAtTheEndOfSequence) {
  model::ModelConfig config = ByteModelConfig();
  for (int id = 0; id < 256; ++id) config.eos_token_ids.push_back(id);
  TestServer server(config);
  const Generated ended = Generate(server.stub(), TextRequest("hi", 10));
  ASSERT_EQ(ended.finished.size(), 1U);
  EXPECT_EQ(ended.finished[0].reason(), v1::FINISH_REASON_EOS);

  v1::GenerateRequest request = TextRequest("hi", 10);
  request.set_ignore_eos(true);
  EXPECT_EQ(Generate(server.stub(), request).TokenIds().size(), 10U);
}

}  // namespace
}  // namespace fmaserver::testing
