// ModelInfer: what it answers, and what it refuses.
#include <functional>
#include <string>
#include <thread>

#include "tests/server/kserve/infer_fixture.h"

namespace fmaserver::testing {
namespace {

using ::testing::HasSubstr;

class InferTest : public InferFixture {
 protected:
  /// Changes a good request, which must then be refused; the refusal names `named`.
  void ExpectRefusal(const std::string& named,
                     const std::function<void(ModelInferRequest&)>& change,
                     grpc::StatusCode code = grpc::StatusCode::INVALID_ARGUMENT) {
    ModelInferRequest request = InferRequest("hi");
    change(request);
    ModelInferResponse response;
    const grpc::Status status = Infer(request, response);
    EXPECT_EQ(status.error_code(), code) << named;
    EXPECT_THAT(status.error_message(), HasSubstr(named));
  }
};

TEST_F(InferTest, AnswersWithTheWholeText) {
  ModelInferResponse response;
  const grpc::Status status = Infer(InferRequest("Once upon"), response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.id(), "r1");
  EXPECT_EQ(response.model_name(), "test");
  EXPECT_EQ(response.model_version(), "1");
  EXPECT_EQ(OutputOf(response, "text_output"), Native("Once upon"));
  EXPECT_EQ(OutputOf(response, "finish_reason"), "length");
}

TEST_F(InferTest, ContentsThatAreNotRawAreAnsweredSo) {
  ModelInferRequest request = InferRequest("Once upon");
  request.clear_raw_input_contents();
  request.mutable_inputs(0)->mutable_contents()->add_bytes_contents("Once upon");
  request.add_outputs()->set_name("text_output");
  ModelInferResponse response;
  ASSERT_TRUE(Infer(request, response).ok());
  ASSERT_EQ(response.outputs_size(), 1) << "only what was asked for";
  EXPECT_EQ(response.outputs(0).contents().bytes_contents(0), Native("Once upon"));
  EXPECT_EQ(response.raw_output_contents_size(), 0);
}

TEST_F(InferTest, SamplingParametersCanBeJson) {
  ModelInferRequest request = InferRequest("Once upon");
  request.clear_parameters();
  AddRawInput("sampling_parameters", "BYTES",
              RawText(R"({"max_tokens": 20, "seed": 7, "stop": ["~~~"], "logit_bias": {"65": 0}})"),
              request);
  ModelInferResponse response;
  const grpc::Status status = Infer(request, response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(OutputOf(response, "text_output"), Native("Once upon"));
}

TEST_F(InferTest, TensorsThatDoNotFitAreRefused) {
  using Request = ModelInferRequest;
  ExpectRefusal("input: text_input is missing", [](Request& r) {
    r.clear_inputs();
    r.clear_raw_input_contents();
  });
  ExpectRefusal("number of raw_input_contents is 2",
                [](Request& r) { r.add_raw_input_contents("x"); });
  ExpectRefusal("text_input: datatype is \"FP32\"",
                [](Request& r) { r.mutable_inputs(0)->set_datatype("FP32"); });
  ExpectRefusal("text_input: shape is [2]",
                [](Request& r) { r.mutable_inputs(0)->set_shape(0, 2); });
  ExpectRefusal("text_input: shape is []", [](Request& r) { r.mutable_inputs(0)->clear_shape(); });
  for (const std::string& raw :
       {std::string(), std::string("\1\0\0", 3), std::string("\1\0\0\0", 4),
        std::string("\xff\xff\xff\xffx", 5), RawText("x") + "y"}) {
    ExpectRefusal("text_input: contents is",
                  [&raw](Request& r) { r.set_raw_input_contents(0, raw); });
  }
  ExpectRefusal("text: ", [](Request& r) { r.set_raw_input_contents(0, RawText("\xff")); });
  ExpectRefusal("input is \"image\"", [](Request& r) { AddRawInput("image", "BYTES", "", r); });
  ExpectRefusal("stream is true", [](Request& r) { AddRawInput("stream", "BOOL", "\1", r); });
  ExpectRefusal("text_input: parameter is \"shared_memory_region\"", [](Request& r) {
    (*r.mutable_inputs(0)->mutable_parameters())["shared_memory_region"].set_string_param("x");
  });
  ExpectRefusal("output is \"logits\"", [](Request& r) { r.add_outputs()->set_name("logits"); });
}

TEST_F(InferTest, WhatIsNotServedIsNotFound) {
  const auto kNotFound = grpc::StatusCode::NOT_FOUND;
  ExpectRefusal(
      "\"other\"", [](auto& r) { r.set_model_name("other"); }, kNotFound);
  ExpectRefusal(
      "model_version is \"2\"", [](auto& r) { r.set_model_version("2"); }, kNotFound);
}

TEST_F(InferTest, ParametersAreChecked) {
  const auto set = [](const std::string& name, const auto& fill) {
    return [name, fill](ModelInferRequest& r) { fill((*r.mutable_parameters())[name]); };
  };
  ExpectRefusal("parameter is \"beams\"", set("beams", [](auto& p) { p.set_int64_param(1); }));
  ExpectRefusal("top_p is 2", set("top_p", [](auto& p) { p.set_double_param(2); }));
  ExpectRefusal("top_k is -1", set("top_k", [](auto& p) { p.set_int64_param(-1); }));
  ExpectRefusal("temperature is null",
                set("temperature", [](auto& p) { p.set_double_param(std::stod("nan")); }));
  ExpectRefusal("max_tokens is 65537",
                set("max_tokens", [](auto& p) { p.set_int64_param(65537); }));
  ExpectRefusal("priority is 202", set("priority", [](auto& p) { p.set_uint64_param(202); }));
  ExpectRefusal("sequence_id is missing",
                set("sequence_start", [](auto& p) { p.set_bool_param(true); }));
  ExpectRefusal("sequence_start is 1",
                set("sequence_start", [](auto& p) { p.set_int64_param(1); }));
  ExpectRefusal("time_limit_seconds is", set("timeout", [](auto& p) { p.set_int64_param(-1); }));
}

TEST_F(InferTest, ASequenceIsASession) {
  const auto turn = [this](const std::string& text, bool start, bool end) {
    ModelInferRequest request = InferRequest(text);
    auto& parameters = *request.mutable_parameters();
    parameters["sequence_id"].set_int64_param(42);
    parameters["sequence_start"].set_bool_param(start);
    parameters["sequence_end"].set_bool_param(end);
    ModelInferResponse response;
    const grpc::Status status = Infer(request, response);
    return status.ok() ? OutputOf(response, "text_output") : status.error_message();
  };
  EXPECT_THAT(turn("Once", false, false), HasSubstr("42"));
  const std::string first = turn("Once", true, false);
  EXPECT_EQ(first, Native("Once"));
  EXPECT_EQ(server_.sessions().Get({kDefaultTenant, "42"})->tokens, 24);
  EXPECT_THAT(turn("Once", true, false), HasSubstr("42")) << "it is there already";
  turn(" upon", false, true);
  EXPECT_FALSE(server_.sessions().Get({kDefaultTenant, "42"}).ok());
}

TEST_F(InferTest, CancellingFreesTheSlot) {
  grpc::ClientContext context;
  ModelInferResponse response;
  ModelInferRequest request = InferRequest(std::string(2'000'000, 'a'), 1);
  std::thread call([&] {
    EXPECT_EQ(stub_->ModelInfer(&context, request, &response).error_code(),
              grpc::StatusCode::CANCELLED);
  });
  EXPECT_TRUE(Eventually([&] { return server_.engine().FreeSlots() == 3; }));
  context.TryCancel();
  call.join();
  EXPECT_TRUE(Eventually([&] { return server_.engine().FreeSlots() == 4; }));
}

}  // namespace
}  // namespace fmaserver::testing
