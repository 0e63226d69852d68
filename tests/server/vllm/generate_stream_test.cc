// GenerateStream: the contents of a stream, and what defaults mean.
#include <string>
#include <vector>

#include "tests/server/vllm/vllm_fixture.h"

namespace fmaserver::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class GenerateStreamTest : public VllmFixture {};

TEST_F(GenerateStreamTest, IsTheNativeApisText) {
  const Streamed result = Stream(TokensRequest("Once upon", 200));
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();
  const Generated native = Generate(server_.stub(), TextRequest("Once upon", 200));
  EXPECT_EQ(result.TokenIds(), native.TokenIds());
  EXPECT_EQ(result.Text(), native.Text());
  EXPECT_EQ(result.Finish().finish_reason(), wire::FinishInfo::LENGTH);
  EXPECT_EQ(result.Finish().num_output_tokens(), 200U);
}

TEST_F(GenerateStreamTest, ThePromptIsToldOnceAndFirst) {
  wire::GenerateRequest text = TokensRequest("", 20);
  text.set_text("Once upon");
  wire::GenerateRequest with_ids = TokensRequest("Once upon");
  with_ids.mutable_response()->set_prompt_token_ids(true);
  wire::GenerateRequest cut = with_ids;
  cut.set_truncate_prompt_tokens(4);
  const auto prompt_of = [this](const wire::GenerateRequest& request) {
    const Streamed result = Stream(request);
    EXPECT_FALSE(result.messages.empty());
    for (const auto& message : result.messages) {
      EXPECT_EQ(message.has_prompt_info(), &message == &result.messages.front());
    }
    return result.messages.front().prompt_info();
  };
  EXPECT_EQ(prompt_of(text).num_prompt_tokens(), 9U);
  EXPECT_THAT(prompt_of(text).token_ids(), IsEmpty());
  EXPECT_EQ(prompt_of(with_ids).num_prompt_tokens(), 9U);
  EXPECT_EQ(prompt_of(with_ids).token_ids_size(), 9);
  EXPECT_EQ(prompt_of(TokensRequest(std::string(500, 'a'))).num_prompt_tokens(), 500U);
  EXPECT_THAT(prompt_of(cut).token_ids(), ElementsAre('u', 'p', 'o', 'n'));
}

// What a proto3 zero means: greedy, 20 tokens, everything else as the model says.
TEST_F(GenerateStreamTest, DefaultsAreThoseOfTheContract) {
  wire::GenerateRequest request;
  request.set_text("Once upon");
  const Streamed result = Stream(request);
  v1::GenerateRequest greedy = TextRequest("Once upon", 20);
  greedy.mutable_sampling()->set_temperature(0);
  EXPECT_EQ(result.Text(), Generate(server_.stub(), greedy).Text());
  EXPECT_EQ(result.Finish().num_output_tokens(), 20U);
  for (const auto& message : result.messages) {
    EXPECT_THAT(message.outputs().token_ids(), IsEmpty()) << "they were not asked for";
  }
}

TEST_F(GenerateStreamTest, TextIsLeftOutWhenNotWanted) {
  wire::GenerateRequest request = TokensRequest("Once upon");
  request.mutable_response()->set_output_text(false);
  const Streamed result = Stream(request);
  EXPECT_EQ(result.Text(), "");
  EXPECT_EQ(result.TokenIds().size(), 20U);
}

TEST_F(GenerateStreamTest, LogprobsAndCandidates) {
  wire::GenerateRequest request = TokensRequest("Once upon");
  request.mutable_response()->set_output_logprobs(true);
  request.mutable_response()->mutable_output_candidates()->set_top_n(3);
  for (const auto& message : Stream(request).messages) {
    const auto& output = message.outputs();
    EXPECT_EQ(output.logprobs_size(), static_cast<int>(output.num_tokens()));
    EXPECT_EQ(output.candidate_tokens_size(), static_cast<int>(output.num_tokens()));
    for (int i = 0; i < output.candidate_tokens_size(); ++i) {
      const auto& candidates = output.candidate_tokens(i).tokens();
      EXPECT_GE(candidates.size(), 2) << "three without the chosen one";
      for (const auto& candidate : candidates) {
        EXPECT_NE(candidate.id(), output.token_ids(i));
        EXPECT_GE(candidate.rank(), 1U);
        EXPECT_LE(candidate.rank(), 3U);
      }
    }
  }
}

TEST_F(GenerateStreamTest, EachSequenceHasItsEnd) {
  wire::GenerateRequest request = TokensRequest("Once upon");
  request.mutable_sampling()->set_num_sequences(3);
  std::vector<int> ends(3);
  for (const auto& message : Stream(request).messages) {
    if (message.outputs().has_finish_info()) ++ends.at(message.outputs().index());
  }
  EXPECT_THAT(ends, ElementsAre(1, 1, 1));
}

TEST_F(GenerateStreamTest, SaysWhatStoppedIt) {
  const Streamed whole = Stream(TokensRequest("Once upon", 50));
  wire::GenerateRequest by_token = TokensRequest("Once upon", 50);
  by_token.mutable_stopping()->add_stop_token_ids(whole.TokenIds()[9]);
  const Streamed stopped = Stream(by_token);
  EXPECT_EQ(stopped.Finish().finish_reason(), wire::FinishInfo::STOP);
  EXPECT_EQ(stopped.Finish().stop_token_id(), whole.TokenIds()[9]);

  wire::GenerateRequest by_text = TokensRequest("Once upon", 2000);
  by_text.mutable_decoding()->mutable_allowed_token_ids()->Add('a');
  by_text.mutable_stopping()->add_stop_strings("aaa");
  const Streamed cut = Stream(by_text);
  EXPECT_EQ(cut.Finish().stop_string(), "aaa");
  EXPECT_EQ(cut.Text(), "");
  by_text.mutable_stopping()->set_include_stop_strings(true);
  EXPECT_EQ(Stream(by_text).Text(), "aaa");
}

class EosTest : public VllmFixture {
 protected:
  static model::ModelConfig AllEnd() {
    model::ModelConfig config = ByteModelConfig();
    for (int id = 0; id < 256; ++id) config.eos_token_ids.push_back(id);
    return config;
  }
  EosTest() : VllmFixture(AllEnd()) {}
};

TEST_F(EosTest, EndsOfSequencesAreTold) {
  const Streamed result = Stream(TokensRequest("hi"));
  EXPECT_EQ(result.Finish().finish_reason(), wire::FinishInfo::STOP);
  EXPECT_EQ(result.Finish().stop_reason_case(), wire::FinishInfo::kEosTokenId);
  wire::GenerateRequest request = TokensRequest("hi");
  request.mutable_stopping()->set_ignore_eos(true);
  EXPECT_EQ(Stream(request).TokenIds().size(), 20U);
}

TEST_F(GenerateStreamTest, CancellingFreesTheSlot) {
  for (int round = 0; round < 100; ++round) {
    grpc::ClientContext context;
    const auto reader =
        stub_->GenerateStream(&context, TokensRequest(std::string(1 + round * 10, 'x'), 1'000'000));
    wire::GenerateResponse message;
    for (int reads = round % 5; reads > 0; --reads) reader->Read(&message);
    context.TryCancel();
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(Eventually([&] { return server_.engine().FreeSlots() == 4; }));
}

}  // namespace
}  // namespace fmaserver::testing
