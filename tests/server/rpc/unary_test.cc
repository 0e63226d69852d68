// Tokenize, Detokenize and GetModel.
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/server/rpc/test_server.h"

namespace fmaserver::testing {
namespace {

TEST(UnaryTest, TokenizeAndBack) {
  TestServer server;
  v1::TokenizeRequest request;
  request.set_text("né");
  v1::TokenizeResponse tokens;
  grpc::ClientContext context;
  ASSERT_TRUE(server.stub().Tokenize(&context, request, &tokens).ok());
  ASSERT_EQ(tokens.token_ids_size(), 3);
  ASSERT_EQ(tokens.tokens_size(), 3);
  EXPECT_EQ(tokens.tokens(1), "\xc3");

  v1::DetokenizeRequest back;
  *back.mutable_token_ids() = tokens.token_ids();
  v1::DetokenizeResponse text;
  grpc::ClientContext second;
  ASSERT_TRUE(server.stub().Detokenize(&second, back, &text).ok());
  EXPECT_EQ(text.text(), "né");
}

TEST(UnaryTest, DetokenizeReplacesWhatIsNoCharacter) {
  TestServer server;
  v1::DetokenizeRequest request;
  request.add_token_ids(0xC3);
  v1::DetokenizeResponse text;
  grpc::ClientContext context;
  ASSERT_TRUE(server.stub().Detokenize(&context, request, &text).ok());
  EXPECT_EQ(text.text(), "\uFFFD");
}

TEST(UnaryTest, GetModelTellsLimitsAndCosts) {
  TestServer server(ByteModelConfig(), {.num_slots = 3});
  const engine::Model& served = server.engine().model();
  v1::Model model;
  grpc::ClientContext context;
  ASSERT_TRUE(server.stub().GetModel(&context, {}, &model).ok());
  EXPECT_EQ(model.name(), "test");
  EXPECT_EQ(model.vocab_size(), 256U);
  EXPECT_EQ(model.max_sequence_length(), 0U);
  EXPECT_EQ(model.horizon_tokens(), 64U);
  EXPECT_EQ(model.tokenizer(), "bytes");
  EXPECT_EQ(model.slot_bytes(), static_cast<uint64_t>(served.slot_bytes()));
  EXPECT_GT(model.slot_bytes(), 0U);
  EXPECT_GT(model.full_cache_bytes_per_token(), 0U);
  EXPECT_EQ(model.num_slots(), 3U);
  EXPECT_FALSE(model.device().empty());
  EXPECT_FALSE(model.server_version().empty());
}

TEST(UnaryTest, GetModelTellsTheLongestSequence) {
  TestServer server(ShortModelConfig(64));
  v1::Model model;
  grpc::ClientContext context;
  ASSERT_TRUE(server.stub().GetModel(&context, {}, &model).ok());
  EXPECT_EQ(model.max_sequence_length(), 64U);
}

}  // namespace
}  // namespace fmaserver::testing
