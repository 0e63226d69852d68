// Many clients, some slow and some that leave: none disturbs the others or keeps a slot.
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/rpc/test_server.h"

namespace fmaserver::testing {
namespace {

TEST(ParallelTest, SixtyFourClientsGetWhatEachGetsAlone) {
  constexpr int kClients = 64;
  TestServer server(ByteModelConfig(), {.num_slots = 24, .max_queue = kClients, .step_tokens = 50});
  const auto request_of = [](int client) {
    v1::GenerateRequest request =
        TextRequest(std::string(1 + client * 13, static_cast<char>('!' + client)), 10 + client);
    request.mutable_sampling()->set_seed(client);
    request.set_logprobs(true);
    request.set_skip_prefix_cache(client % 2 == 0);
    return request;
  };
  const auto logprobs_of = [](const Generated& generated) {
    std::vector<float> logprobs;
    for (const v1::Delta& delta : generated.deltas) {
      logprobs.insert(logprobs.end(), delta.logprobs().begin(), delta.logprobs().end());
    }
    return logprobs;
  };
  std::vector<Generated> alone;
  for (int i = 0; i < kClients; ++i) alone.push_back(Generate(server.stub(), request_of(i)));

  std::vector<Generated> together(kClients);
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] {
      const auto stub = v1::Generation::NewStub(server.NewChannel());
      together[i] = Generate(*stub, request_of(i));
    });
  }
  for (std::thread& client : clients) client.join();
  for (int i = 0; i < kClients; ++i) {
    EXPECT_TRUE(together[i].status.ok()) << together[i].status.error_message();
    EXPECT_EQ(together[i].TokenIds(), alone[i].TokenIds()) << "client " << i;
    EXPECT_EQ(logprobs_of(together[i]), logprobs_of(alone[i])) << "client " << i;
  }
}

TEST(ParallelTest, CancelFreesTheSlot) {
  TestServer server(ByteModelConfig(), {.num_slots = 1, .max_queue = 1});
  grpc::ClientContext context;
  const auto reader = server.stub().Generate(&context, TextRequest("endless", kEndless));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(server.engine().FreeSlots(), 0);
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(Generate(server.stub(), TextRequest("next", 5)).status.ok());
}

TEST(ParallelTest, DeadlineFreesTheSlot) {
  TestServer server(ByteModelConfig(), {.num_slots = 1, .max_queue = 1});
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  const auto reader = server.stub().Generate(&context, TextRequest("endless", kEndless));
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(Generate(server.stub(), TextRequest("next", 5)).status.ok());
}

TEST(ParallelTest, FullQueueRefuses) {
  TestServer server(ByteModelConfig(), {.num_slots = 1, .max_queue = 0});
  grpc::ClientContext context;
  const auto reader = server.stub().Generate(&context, TextRequest("endless", kEndless));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  const grpc::Status refused = Generate(server.stub(), TextRequest("no room", 1)).status;
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  google::rpc::Status details;
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.ParseFromString(refused.error_details()));
  ASSERT_EQ(details.details_size(), 1);
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_GT(retry.retry_delay().seconds() + retry.retry_delay().nanos(), 0);
  context.TryCancel();
}

TEST(ParallelTest, SlowReaderLosesNothingAndStopsNobody) {
  TestServer server(ByteModelConfig(), {.num_slots = 2, .max_queue = 8});
  // Less than the amount that may wait for a reader.
  const v1::GenerateRequest request = TextRequest("slow", 30'000);
  grpc::ClientContext context;
  const auto reader = server.stub().Generate(&context, request);
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  uint64_t tokens = response.delta().token_ids_size();

  const auto other = v1::Generation::NewStub(server.NewChannel());
  EXPECT_TRUE(Generate(*other, TextRequest("quick", 5)).status.ok());
  EXPECT_TRUE(Eventually([&] { return server.engine().FreeSlots() == 2; }))
      << "the engine waits for the reader";

  int messages = 1;
  v1::Finished finished;
  while (reader->Read(&response)) {
    ++messages;
    tokens += response.delta().token_ids_size();
    if (response.has_finished()) finished = response.finished();
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(tokens, 30'000U);
  EXPECT_EQ(finished.usage().generated_tokens(), 30'000U);
  EXPECT_LT(messages, 30'000) << "waiting deltas are merged";
}

TEST(ParallelTest, ClientsThatVanishLeaveNothingBehind) {
  TestServer server(ByteModelConfig(), {.num_slots = 2, .max_queue = 200});
  for (int i = 0; i < 100; ++i) {
    auto channel = server.NewChannel();
    const auto stub = v1::Generation::NewStub(channel);
    grpc::ClientContext context;
    const auto reader = stub->Generate(&context, TextRequest("endless", kEndless));
    v1::GenerateResponse response;
    // Some leave at once, some after the headers, some in mid-stream.
    if (i % 3 == 1) reader->WaitForInitialMetadata();
    if (i % 3 == 2) {
      EXPECT_TRUE(reader->Read(&response));
    }
    context.TryCancel();
  }
  EXPECT_TRUE(Eventually([&] { return server.engine().FreeSlots() == 2; }));
  EXPECT_TRUE(Generate(server.stub(), TextRequest("still here", 5)).status.ok());
}

TEST(ParallelTest, ServerStopsUnderRunningStreams) {
  auto server = std::make_unique<TestServer>();
  grpc::ClientContext context;
  const auto channel = server->NewChannel();
  const auto stub = v1::Generation::NewStub(channel);
  const auto reader = stub->Generate(&context, TextRequest("endless", kEndless));
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  server.reset();
  while (reader->Read(&response)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
}

}  // namespace
}  // namespace fmaserver::testing
