#include "tests/server/kserve/infer_fixture.h"

#include "server/kserve/inference_service.h"

namespace fmaserver::testing {

std::string RawText(const std::string& text) {
  std::string raw;
  for (int i = 0; i < 4; ++i) raw += static_cast<char>(text.size() >> (8 * i) & 0xff);
  return raw + text;
}

void AddRawInput(const std::string& name, const std::string& datatype, const std::string& raw,
                 ModelInferRequest& request) {
  auto& input = *request.add_inputs();
  input.set_name(name);
  input.set_datatype(datatype);
  input.add_shape(1);
  request.add_raw_input_contents(raw);
}

ModelInferRequest InferRequest(const std::string& text, int64_t max_tokens) {
  ModelInferRequest request;
  request.set_id("r1");
  AddRawInput("text_input", "BYTES", RawText(text), request);
  (*request.mutable_parameters())["max_tokens"].set_int64_param(max_tokens);
  (*request.mutable_parameters())["seed"].set_int64_param(7);
  return request;
}

std::string OutputOf(const ModelInferResponse& response, const std::string& name) {
  for (int i = 0; i < response.outputs_size(); ++i) {
    if (response.outputs(i).name() != name) continue;
    EXPECT_EQ(response.outputs(i).datatype(), "BYTES");
    EXPECT_EQ(response.outputs(i).shape_size(), 1);
    EXPECT_EQ(response.raw_output_contents_size(), response.outputs_size());
    const std::string& raw = response.raw_output_contents(i);
    EXPECT_EQ(raw, RawText(raw.substr(4)));
    return raw.substr(4);
  }
  ADD_FAILURE() << "no output " << name;
  return {};
}

InferFixture::InferFixture(service::CallPolicy policy)
    : server_(ByteModelConfig(), {.num_slots = 4, .max_queue = 8, .step_tokens = 32}, {},
              std::move(policy), nullptr, nullptr, {kserve::MakeInferenceService}),
      stub_(inference::GRPCInferenceService::NewStub(server_.NewChannel())) {}

}  // namespace fmaserver::testing
