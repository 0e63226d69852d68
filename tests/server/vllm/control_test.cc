// Control: what the server is, and requests that are aborted by their ids.
#include <memory>
#include <string>
#include <thread>

#include "tests/server/vllm/vllm_fixture.h"

namespace fmaserver::testing {
namespace {

class ControlTest : public VllmFixture {
 protected:
  grpc::Status Abort(const std::string& id) {
    grpc::ClientContext context;
    wire::AbortRequest request;
    request.add_request_ids(id);
    request.add_request_ids("another");
    wire::AbortResponse response;
    return control_->Abort(&context, request, &response);
  }
};

TEST_F(ControlTest, DescribesServerAndModel) {
  grpc::ClientContext context;
  wire::ServerInfo server;
  ASSERT_TRUE(control_->GetServerInfo(&context, {}, &server).ok());
  EXPECT_NE(server.engine_version(), "");
  EXPECT_NE(server.instance_id(), "");
  EXPECT_EQ(server.max_running_requests(), 4U);
  EXPECT_EQ(server.max_model_len(), UINT32_MAX) << "it has no longest sequence";
  EXPECT_EQ(server.parallelism().world_size(), 1U);
  grpc::ClientContext context2;
  wire::ModelInfo model;
  ASSERT_TRUE(control_->GetModelInfo(&context2, {}, &model).ok());
  EXPECT_EQ(model.served_model_name(), "test");
  EXPECT_TRUE(model.supports_text_input());
  EXPECT_TRUE(model.supports_token_ids_input());
}

TEST_F(ControlTest, AbortEndsTheRequestsOfThatId) {
  const auto start = [this](grpc::ClientContext& context, const std::string& id) {
    wire::GenerateRequest request = TokensRequest("x", 100'000'000);
    request.set_request_id(id);
    auto reader = stub_->GenerateStream(&context, request);
    wire::GenerateResponse message;
    EXPECT_TRUE(reader->Read(&message)) << "it runs";
    return reader;
  };
  grpc::ClientContext contexts[3];
  const auto first = start(contexts[0], "one");
  const auto twin = start(contexts[1], "one");
  const auto other = start(contexts[2], "two");
  ASSERT_TRUE(Abort("one").ok());
  for (const auto& aborted : {first.get(), twin.get()}) {
    const grpc::Status status = ReadAll(*aborted).status;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
    EXPECT_EQ(status.error_message(), "the request was aborted by its id");
  }
  wire::GenerateResponse message;
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(other->Read(&message)) << "it goes on";
  EXPECT_TRUE(Abort("one").ok()) << "nobody has it any more";
  ASSERT_TRUE(Abort("two").ok());
  EXPECT_EQ(ReadAll(*other).status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Eventually([&] { return server_.engine().FreeSlots() == 4; }));
}

}  // namespace
}  // namespace fmaserver::testing
