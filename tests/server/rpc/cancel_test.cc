// A thousand streams cancelled at random moments, with sessions and without: nothing grows.
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "fma/v1/sessions.grpc.pb.h"
#include "tests/server/rpc/test_server.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

/// By how much memory may grow: AddressSanitizer keeps some of what is freed.
#ifdef FMA_SANITIZED
constexpr int64_t kPagesMore = 16'384;
#else
constexpr int64_t kPagesMore = 2'048;
#endif

int64_t Entries(const std::string& folder) {
  return std::distance(std::filesystem::directory_iterator(folder), {});
}

int64_t ResidentPages() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0;
  int64_t resident = 0;
  file >> total >> resident;
  return resident;
}

/// What a process has: threads and files exactly, memory as the system counts it.
struct Holdings {
  int64_t threads = Entries("/proc/self/task");
  int64_t files = Entries("/proc/self/fd");
  int64_t pages = ResidentPages();
};

class CancelTest : public ::testing::Test {
 protected:
  CancelTest() {
    sessions::SessionOptions sessions;
    sessions.dir = folder_.path();
    server_ = std::make_unique<TestServer>(
        ByteModelConfig(),
        engine::EngineOptions{.num_slots = 4, .max_queue = 64, .step_tokens = 50}, sessions);
    grpc::ClientContext context;
    v1::Session session;
    const auto stub = v1::Sessions::NewStub(server_->NewChannel());
    EXPECT_TRUE(stub->Create(&context, {}, &session).ok());
    session_id_ = session.session_id();
  }

  /// Cancels after up to 20 messages, or right away.
  void RunAndCancel(v1::Generation::Stub& stub, std::mt19937& random) {
    v1::GenerateRequest request = TextRequest(std::string(1 + random() % 500, 'x'), kEndless);
    if (random() % 4 == 0) request.set_session_id(session_id_);
    if (random() % 4 == 0) request.set_n(request.session_id().empty() ? 3 : 1);
    grpc::ClientContext context;
    const auto reader = stub.Generate(&context, request);
    v1::GenerateResponse response;
    for (unsigned i = random() % 20; i > 0 && reader->Read(&response); --i) {
    }
    context.TryCancel();
    reader->Finish();
  }

  void RunMany(int streams) {
    constexpr int kClients = 8;
    std::vector<std::thread> clients;
    for (int client = 0; client < kClients; ++client) {
      clients.emplace_back([this, client, streams] {
        std::mt19937 random(client);
        for (int i = 0; i < streams / kClients; ++i) RunAndCancel(server_->stub(), random);
      });
    }
    for (std::thread& client : clients) client.join();
    EXPECT_TRUE(Eventually([&] { return server_->engine().FreeSlots() == 4; }));
  }

  TempFolder folder_;
  std::unique_ptr<TestServer> server_;
  std::string session_id_;
};

TEST_F(CancelTest, NeitherSlotsNorThreadsNorFilesNorMemoryGrow) {
  RunMany(400);  // until gRPC's pools are as large as they will be
  const Holdings before;
  RunMany(1'000);
  const Holdings after;
  // gRPC adds and drops a thread of its pools now and then.
  EXPECT_LE(after.threads, before.threads + 4);
  EXPECT_LE(after.files, before.files + 2);
  EXPECT_LE(after.pages, before.pages + kPagesMore);
  v1::GenerateRequest turn = TextRequest("y", 3);
  turn.set_session_id(session_id_);
  Generated answer;
  EXPECT_TRUE(Eventually([&] {
    answer = Generate(server_->stub(), turn);
    return answer.status.ok();
  }));
  EXPECT_EQ(answer.finished.at(0).session().tokens(), 4U) << "cancelled turns leave no trace";
}

}  // namespace
}  // namespace fmaserver::testing
