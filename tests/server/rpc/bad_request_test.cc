// Every bad request gets its status and a message to act on, and the next good one is served.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "tests/server/rpc/raw_call.h"
#include "tests/server/rpc/test_server.h"

namespace fmaserver::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kGenerate[] = "/fma.v1.Generation/Generate";
constexpr char kTokenize[] = "/fma.v1.Generation/Tokenize";

class BadRequestTest : public ::testing::Test {
 protected:
  void ExpectRefused(const grpc::Status& status, grpc::StatusCode code,
                     const ::testing::Matcher<std::string>& message) {
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), message);
    const Generated good = Generate(server_.stub(), TextRequest("good", 3));
    EXPECT_TRUE(good.status.ok()) << good.status.error_message();
    EXPECT_EQ(good.TokenIds().size(), 3U);
  }

  void ExpectInvalid(const std::function<void(v1::GenerateRequest&)>& spoil,
                     const ::testing::Matcher<std::string>& message) {
    v1::GenerateRequest request = TextRequest("hi", 3);
    spoil(request);
    ExpectRefused(Generate(server_.stub(), request).status, grpc::StatusCode::INVALID_ARGUMENT,
                  AllOf(HasSubstr(" is "), HasSubstr("; allowed: "), message));
  }

  TestServer server_{ShortModelConfig(64)};
};

TEST_F(BadRequestTest, NoPrompt) {
  ExpectInvalid([](auto& request) { request.clear_text(); },
                AllOf(HasSubstr("text"), HasSubstr("token_ids"), HasSubstr("missing")));
  ExpectInvalid([](auto& request) { request.set_text(""); },
                AllOf(HasSubstr("text"), HasSubstr("0 tokens")));
  ExpectInvalid([](auto& request) { request.mutable_token_ids(); },
                AllOf(HasSubstr("token_ids"), HasSubstr("0 tokens")));
}

TEST_F(BadRequestTest, UnknownId) {
  for (const uint32_t id : {256U, std::numeric_limits<uint32_t>::max()}) {
    ExpectInvalid(
        [id](auto& request) {
          request.mutable_token_ids()->add_ids(1);
          request.mutable_token_ids()->add_ids(id);
        },
        AllOf(HasSubstr("token_ids[1]"), HasSubstr(std::to_string(id)), HasSubstr("255")));
  }
}

TEST_F(BadRequestTest, LongerThanTheLearnedPositions) {
  ExpectInvalid([](auto& request) { request.set_text(std::string(65, 'a')); },
                AllOf(HasSubstr("65"), HasSubstr("64")));
}

TEST_F(BadRequestTest, SamplingOutOfRange) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float value : {-0.5F, nan, infinity}) {
    ExpectInvalid([value](auto& r) { r.mutable_sampling()->set_temperature(value); },
                  HasSubstr("temperature"));
  }
  for (const float value : {0.0F, -1.0F, 1.5F, nan}) {
    ExpectInvalid([value](auto& r) { r.mutable_sampling()->set_top_p(value); }, HasSubstr("top_p"));
  }
  for (const float value : {-0.1F, 1.1F, nan}) {
    ExpectInvalid([value](auto& r) { r.mutable_sampling()->set_min_p(value); }, HasSubstr("min_p"));
  }
  for (const float value : {0.0F, -1.0F, 101.0F, nan}) {
    ExpectInvalid([value](auto& r) { r.mutable_sampling()->set_repetition_penalty(value); },
                  HasSubstr("repetition_penalty"));
  }
  for (const float value : {-2.1F, 2.1F, nan}) {
    ExpectInvalid([value](auto& r) { r.mutable_sampling()->set_frequency_penalty(value); },
                  HasSubstr("frequency_penalty"));
    ExpectInvalid([value](auto& r) { r.mutable_sampling()->set_presence_penalty(value); },
                  HasSubstr("presence_penalty"));
  }
  for (const float value : {-101.0F, infinity, nan}) {
    ExpectInvalid([value](auto& r) { (*r.mutable_sampling()->mutable_logit_bias())[7] = value; },
                  HasSubstr("logit_bias[7]"));
  }
  ExpectInvalid([](auto& r) { r.set_max_tokens(0); }, HasSubstr("max_tokens"));
}

TEST_F(BadRequestTest, UnknownIdsOfFilters) {
  for (const uint32_t id : {256U, std::numeric_limits<uint32_t>::max()}) {
    const std::string found = std::to_string(id);
    ExpectInvalid([id](auto& r) { (*r.mutable_sampling()->mutable_logit_bias())[id] = 1; },
                  AllOf(HasSubstr("logit_bias"), HasSubstr(found), HasSubstr("255")));
    ExpectInvalid([id](auto& r) { r.mutable_sampling()->add_allowed_token_ids(id); },
                  AllOf(HasSubstr("allowed_token_ids[0]"), HasSubstr(found), HasSubstr("255")));
    ExpectInvalid([id](auto& r) { r.mutable_sampling()->add_banned_token_ids(id); },
                  AllOf(HasSubstr("banned_token_ids[0]"), HasSubstr(found), HasSubstr("255")));
    ExpectInvalid([id](auto& r) { r.add_stop_token_ids(id); },
                  AllOf(HasSubstr("stop_token_ids[0]"), HasSubstr(found), HasSubstr("255")));
  }
}

TEST_F(BadRequestTest, StoppingOutOfRange) {
  ExpectInvalid([](auto& r) { r.set_min_tokens(4); },
                AllOf(HasSubstr("min_tokens is 4"), HasSubstr("3")));
  ExpectInvalid([](auto& r) { r.add_stop(); }, AllOf(HasSubstr("stop[0]"), HasSubstr("256")));
  ExpectInvalid([](auto& r) { r.add_stop(std::string(257, 'x')); }, HasSubstr("stop[0] is 257"));
  ExpectInvalid(
      [](auto& r) {
        for (int i = 0; i < 17; ++i) r.add_stop(std::string(1, 'x'));
      },
      AllOf(HasSubstr("stop strings is 17"), HasSubstr("16")));
  for (const double value : {0.0, -1.0, std::nan("")}) {
    ExpectInvalid([value](auto& r) { r.set_time_limit_seconds(value); },
                  HasSubstr("time_limit_seconds"));
  }
  ExpectInvalid(
      [](auto& r) {
        for (uint32_t id = 0; id < 256; ++id) r.mutable_sampling()->add_banned_token_ids(id);
      },
      AllOf(HasSubstr("banned_token_ids"), HasSubstr("leave is 0")));
}

TEST_F(BadRequestTest, LargeTopKKeepsAll) {
  v1::GenerateRequest request = TextRequest("hi", 5);
  request.mutable_sampling()->set_top_k(std::numeric_limits<uint32_t>::max());
  EXPECT_EQ(Generate(server_.stub(), request).TokenIds(),
            Generate(server_.stub(), TextRequest("hi", 5)).TokenIds());
}

TEST_F(BadRequestTest, PromptOf100Megabytes) {
  const Generated result = Generate(server_.stub(), TextRequest(std::string(100'000'000, 'a'), 1));
  ExpectRefused(result.status, grpc::StatusCode::RESOURCE_EXHAUSTED,
                AllOf(HasSubstr("100000"), HasSubstr("33554432")));
}

TEST_F(BadRequestTest, BrokenUtf8NamesFieldAndByte) {
  const std::string broken = BytesField(1, "ab\xff");
  for (const char* method : {kGenerate, "/fma.v1.Generation/Score", kTokenize}) {
    ExpectRefused(RawCall(server_.NewChannel(), method, broken).status,
                  grpc::StatusCode::INVALID_ARGUMENT, AllOf(HasSubstr("text"), HasSubstr("2")));
  }
}

TEST_F(BadRequestTest, BytesThatAreNoMessage) {
  const std::string cut = BytesField(1, "abc").substr(0, 3);
  for (const std::string& bytes : {cut, std::string("\x08\x80", 2), std::string("\xff\xff\xff")}) {
    ExpectRefused(RawCall(server_.NewChannel(), kGenerate, bytes).status,
                  grpc::StatusCode::INVALID_ARGUMENT, HasSubstr("fma.v1.GenerateRequest"));
  }
}

TEST_F(BadRequestTest, MoreAlternativesThanAllowed) {
  for (const uint32_t top : {101U, std::numeric_limits<uint32_t>::max()}) {
    v1::ScoreRequest request;
    request.set_text("hi");
    request.set_top_logprobs(top);
    grpc::ClientContext context;
    ExpectRefused(server_.stub().Score(&context, request)->Finish(),
                  grpc::StatusCode::INVALID_ARGUMENT,
                  AllOf(HasSubstr("top_logprobs"), HasSubstr("100")));
    ExpectInvalid([top](auto& r) { r.set_top_logprobs(top); },
                  AllOf(HasSubstr("top_logprobs"), HasSubstr("100")));
  }
}

TEST_F(BadRequestTest, DetokenizeUnknownId) {
  v1::DetokenizeRequest request;
  request.add_token_ids(256);
  v1::DetokenizeResponse response;
  grpc::ClientContext context;
  ExpectRefused(server_.stub().Detokenize(&context, request, &response),
                grpc::StatusCode::INVALID_ARGUMENT, HasSubstr("token_ids[0] is 256"));
}

TEST(BadRequestWithoutTokenizerTest, TextIsAFailedPrecondition) {
  TestServer server(IdModelConfig());
  const grpc::Status status = Generate(server.stub(), TextRequest("hi", 3)).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("token_ids"));
  v1::GenerateRequest stops;
  stops.mutable_token_ids()->add_ids(1);
  stops.add_stop(std::string(1, 'x'));
  const grpc::Status refused = Generate(server.stub(), stops).status;
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error_message(),
              AllOf(HasSubstr("stop is set"), HasSubstr("stop_token_ids")));
  v1::DetokenizeResponse response;
  grpc::ClientContext context;
  EXPECT_EQ(server.stub().Detokenize(&context, {}, &response).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace fmaserver::testing
