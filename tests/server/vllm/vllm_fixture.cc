#include "tests/server/vllm/vllm_fixture.h"

#include "server/vllm/services.h"

namespace fmaserver::testing {

wire::GenerateRequest TokensRequest(const std::string& text, uint32_t max_tokens) {
  wire::GenerateRequest request;
  for (const char c : text) {
    request.mutable_token_ids()->add_ids(static_cast<unsigned char>(c));
  }
  request.set_temperature(1);
  request.mutable_sampling()->set_seed(7);
  request.mutable_stopping()->set_max_new_tokens(max_tokens);
  request.mutable_response()->set_output_token_ids(true);
  return request;
}

Streamed ReadAll(grpc::ClientReader<wire::GenerateResponse>& reader) {
  Streamed result;
  wire::GenerateResponse message;
  while (reader.Read(&message)) result.messages.push_back(message);
  result.status = reader.Finish();
  return result;
}

std::vector<uint32_t> Streamed::TokenIds() const {
  std::vector<uint32_t> ids;
  for (const auto& message : messages) {
    const auto& output = message.outputs();
    EXPECT_EQ(output.num_tokens(), output.token_ids_size());
    ids.insert(ids.end(), output.token_ids().begin(), output.token_ids().end());
  }
  return ids;
}

std::string Streamed::Text() const {
  std::string text;
  for (const auto& message : messages) text += message.outputs().text();
  return text;
}

wire::FinishInfo Streamed::Finish() const {
  if (messages.empty()) return {};
  for (const auto& message : messages) {
    EXPECT_EQ(message.outputs().has_finish_info(), &message == &messages.back());
  }
  return messages.back().outputs().finish_info();
}

VllmFixture::VllmFixture(const model::ModelConfig& config)
    : server_(config, {.num_slots = 4, .max_queue = 8, .step_tokens = 32}, {}, {}, nullptr, nullptr,
              vllm::MakersOfServices()),
      stub_(wire::Inference::NewStub(server_.NewChannel())),
      control_(wire::Control::NewStub(server_.NewChannel())) {}

}  // namespace fmaserver::testing
