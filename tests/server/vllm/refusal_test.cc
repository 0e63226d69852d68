// What the contract has and this server has not is refused by its name.
#include <functional>
#include <string>

#include "tests/server/vllm/vllm_fixture.h"

namespace fmaserver::testing {
namespace {

using Request = wire::GenerateRequest;
using ::testing::HasSubstr;

class RefusalTest : public VllmFixture {
 protected:
  void ExpectRefusal(const std::string& message, const std::function<void(Request&)>& change,
                     grpc::StatusCode code = grpc::StatusCode::INVALID_ARGUMENT) {
    Request request = TokensRequest("hi");
    change(request);
    const grpc::Status status = Stream(request).status;
    EXPECT_EQ(status.error_code(), code) << message;
    EXPECT_THAT(status.error_message(), HasSubstr(message));
  }
};

TEST_F(RefusalTest, WhatIsNotServed) {
  ExpectRefusal("media is set", [](Request& r) { r.add_media(); });
  ExpectRefusal("lora_name is set", [](Request& r) { r.set_lora_name("x"); });
  ExpectRefusal("decoding.regex is set", [](Request& r) { r.mutable_decoding()->set_regex(""); });
  ExpectRefusal("decoding.json_object is set",
                [](Request& r) { r.mutable_decoding()->set_json_object(true); });
  ExpectRefusal("kv.kv_transfer_params is set",
                [](Request& r) { r.mutable_kv()->mutable_kv_transfer_params(); });
  ExpectRefusal("response.prompt_logprobs is set",
                [](Request& r) { r.mutable_response()->set_prompt_logprobs(true); });
  ExpectRefusal("response.output_candidates.all is set", [](Request& r) {
    r.mutable_response()->mutable_output_candidates()->set_all(true);
  });
  Request plain = TokensRequest("hi");
  plain.mutable_decoding()->set_json_object(false);
  plain.mutable_kv();
  EXPECT_TRUE(Stream(plain).status.ok()) << "what says nothing is no reason";
}

TEST_F(RefusalTest, WhatIsWrong) {
  ExpectRefusal("prompt is missing", [](Request& r) { r.clear_prompt(); });
  ExpectRefusal("token_ids[2] is 256", [](Request& r) { r.mutable_token_ids()->add_ids(256); });
  ExpectRefusal("top_p is 2", [](Request& r) { r.mutable_sampling()->set_top_p(2); });
  ExpectRefusal("n is 1000", [](Request& r) { r.mutable_sampling()->set_num_sequences(1000); });
  ExpectRefusal("truncate_prompt_tokens is 3", [](Request& r) {
    r.set_text("text");
    r.set_truncate_prompt_tokens(3);
  });
  ExpectRefusal(
      "\"other\"", [](Request& r) { r.set_model("other"); }, grpc::StatusCode::NOT_FOUND);
}

// vLLM's router takes a refusal behind headers for a worker that broke.
TEST_F(RefusalTest, ComesWithoutHeaders) {
  Request request = TokensRequest("hi");
  request.mutable_sampling()->set_top_p(2);
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "one");
  const auto reader = stub_->GenerateStream(&context, request);
  EXPECT_FALSE(ReadAll(*reader).status.ok());
  EXPECT_TRUE(context.GetServerInitialMetadata().empty());
  const auto& trailers = context.GetServerTrailingMetadata();
  ASSERT_EQ(trailers.count("x-request-id"), 1U);
  EXPECT_EQ(trailers.find("x-request-id")->second, "one");
}

}  // namespace
}  // namespace fmaserver::testing
