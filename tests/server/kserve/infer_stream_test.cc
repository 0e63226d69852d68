// ModelStreamInfer: pieces, errors on the stream, sequences, and streams that end.
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "tests/server/kserve/infer_fixture.h"

namespace fmaserver::testing {
namespace {

using inference::ModelStreamInferResponse;
using ::testing::HasSubstr;

/// A stream and what it answered so far.
class Stream {
 public:
  explicit Stream(inference::GRPCInferenceService::Stub& stub)
      : stream_(stub.ModelStreamInfer(&context_)) {}

  void Send(const ModelInferRequest& request) { EXPECT_TRUE(stream_->Write(request)); }

  /// The answers to one request, up to the last or an error.
  std::vector<ModelStreamInferResponse> Read() {
    std::vector<ModelStreamInferResponse> answers;
    ModelStreamInferResponse answer;
    while (stream_->Read(&answer)) {
      answers.push_back(answer);
      const auto& parameters = answer.infer_response().parameters();
      const auto last = parameters.find("triton_final_response");
      if (!answer.error_message().empty() || last->second.bool_param()) break;
    }
    return answers;
  }

  grpc::Status Close() {
    stream_->WritesDone();
    return stream_->Finish();
  }
  grpc::ClientContext& context() { return context_; }
  grpc::ClientReaderWriter<ModelInferRequest, ModelStreamInferResponse>& stream() {
    return *stream_;
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<ModelInferRequest, ModelStreamInferResponse>> stream_;
};

std::string TextOf(const std::vector<ModelStreamInferResponse>& answers) {
  std::string text;
  for (const auto& answer : answers) text += OutputOf(answer.infer_response(), "text_output");
  return text;
}

using InferStreamTest = InferFixture;

TEST_F(InferStreamTest, StreamsPiecesThenTheEnd) {
  Stream stream(*stub_);
  stream.Send(InferRequest("Once upon", 200));
  const auto answers = stream.Read();
  EXPECT_GT(answers.size(), 1U);
  EXPECT_EQ(TextOf(answers), Native("Once upon", 200));
  for (const auto& answer : answers) {
    EXPECT_EQ(answer.infer_response().id(), "r1");
    const bool last = &answer == &answers.back();
    EXPECT_EQ(OutputOf(answer.infer_response(), "finish_reason"), last ? "length" : "");
  }
  EXPECT_TRUE(stream.Close().ok());
}

TEST_F(InferStreamTest, WithoutStreamingThereIsOneAnswer) {
  Stream stream(*stub_);
  ModelInferRequest request = InferRequest("Once upon", 200);
  AddRawInput("streaming", "BOOL", std::string(1, '\0'), request);
  stream.Send(request);
  const auto answers = stream.Read();
  EXPECT_EQ(answers.size(), 1U);
  EXPECT_EQ(TextOf(answers), Native("Once upon", 200));
}

TEST_F(InferStreamTest, ErrorsAreMessagesAndTheStreamGoesOn) {
  Stream stream(*stub_);
  ModelInferRequest wrong = InferRequest("x");
  wrong.set_id("wrong");
  (*wrong.mutable_parameters())["top_p"].set_double_param(2);
  ModelInferRequest nowhere = InferRequest("x");
  nowhere.set_id("nowhere");
  nowhere.set_model_name("other");
  for (const auto& request : {wrong, nowhere, InferRequest("Once upon")}) stream.Send(request);
  auto answers = stream.Read();
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_THAT(answers[0].error_message(), HasSubstr("top_p is 2"));
  EXPECT_EQ(answers[0].infer_response().id(), "wrong");
  answers = stream.Read();
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_THAT(answers[0].error_message(), HasSubstr("\"other\""));
  EXPECT_EQ(answers[0].infer_response().id(), "nowhere") << "refused before it was parsed";
  EXPECT_EQ(TextOf(stream.Read()), Native("Once upon"));
  EXPECT_TRUE(stream.Close().ok());
}

// A client sends all turns at once.
TEST_F(InferStreamTest, TurnsOfASequenceKeepTheirOrder) {
  Stream stream(*stub_);
  constexpr int kTurns = 5;
  for (int i = 0; i < kTurns; ++i) {
    ModelInferRequest request = InferRequest("abcd", 6);
    auto& parameters = *request.mutable_parameters();
    parameters["sequence_id"].set_string_param("talk");
    parameters["sequence_start"].set_bool_param(i == 0);
    parameters["sequence_end"].set_bool_param(i == kTurns - 1);
    stream.Send(request);
  }
  for (int i = 0; i < kTurns; ++i) {
    const auto answers = stream.Read();
    ASSERT_FALSE(answers.empty());
    EXPECT_EQ(answers.back().error_message(), "") << i;
  }
  EXPECT_FALSE(server_.sessions().Get({kDefaultTenant, "talk"}).ok());
  EXPECT_TRUE(stream.Close().ok());
}

TEST_F(InferStreamTest, CancellingEndsTheRequestAtAnyMoment) {
  for (int round = 0; round < 100; ++round) {
    Stream stream(*stub_);
    stream.Send(InferRequest(std::string(1 + round * 10, 'x'), 1'000'000));
    ModelStreamInferResponse answer;
    for (int reads = round % 5; reads > 0; --reads) stream.stream().Read(&answer);
    stream.context().TryCancel();
    EXPECT_EQ(stream.stream().Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  EXPECT_TRUE(Eventually([&] { return server_.engine().FreeSlots() == 4; }));
}

// A reader that does not read stops its request, and costs the server some memory only.
TEST_F(InferStreamTest, ASlowReaderPausesItsRequest) {
  Stream stream(*stub_);
  stream.Send(InferRequest("x", 100'000'000));
  ModelStreamInferResponse answer;
  ASSERT_TRUE(stream.stream().Read(&answer));
  EXPECT_EQ(Generate(server_.stub(), TextRequest("other", 50)).TokenIds().size(), 50U);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(stream.stream().Read(&answer));
  stream.context().TryCancel();
}

TEST_F(InferStreamTest, AServerThatDrainsRefusesAndEnds) {
  Stream stream(*stub_);
  stream.Send(InferRequest("Once upon"));
  EXPECT_EQ(TextOf(stream.Read()), Native("Once upon"));
  server_.engine().Drain(absl::ZeroDuration());
  stream.Send(InferRequest("Once upon"));
  const auto answers = stream.Read();
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_NE(answers[0].error_message(), "");
  server_.rpc().Shutdown(absl::ZeroDuration());
  EXPECT_FALSE(stream.stream().Finish().ok());
}

class ClosedStreamTest : public InferFixture {
 protected:
  ClosedStreamTest() : InferFixture({.access = AccessOf(kTokens), .observer = nullptr}) {}
  static constexpr char kTokens[] =
      "somebody 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n";  // "secret"
};

TEST_F(ClosedStreamTest, WhoeverIsNotKnownGetsNoStream) {
  Stream stranger(*stub_);
  EXPECT_EQ(stranger.stream().Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer secret");
  const auto stream = stub_->ModelStreamInfer(&context);
  EXPECT_TRUE(stream->Write(InferRequest("x")));
  ModelStreamInferResponse answer;
  EXPECT_TRUE(stream->Read(&answer));
  EXPECT_EQ(answer.error_message(), "");
}

}  // namespace
}  // namespace fmaserver::testing
