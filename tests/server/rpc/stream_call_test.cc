// The outbox of a stream under every interleaving that threads will give: a real engine on one
// side, on the other a stand-in for gRPC that writes slowly and cancels at odd moments. Free of
// sockets and of gRPC's threads, so that ThreadSanitizer sees all there is.
#include <grpcpp/support/server_callback.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "server/rpc/byte_buffer.h"
#include "server/rpc/generate_call.h"
#include "tests/server/rpc/test_server.h"

// What the engine sends before gRPC binds the reactor is handed over under a lock inside gRPC's
// library, which is not built for ThreadSanitizer.
extern "C" const char* __tsan_default_suppressions() { return "race:InternalBindWriter\n"; }

namespace fmaserver::testing {
namespace {

// Takes the writes of one call and reports them done from a thread of its own, as gRPC would.
class FakeWriter final : public grpc::ServerCallbackWriter<grpc::ByteBuffer> {
 public:
  using Reactor = grpc::ServerWriteReactor<grpc::ByteBuffer>;

  FakeWriter(Reactor* reactor, std::chrono::microseconds write_time)
      : reactor_(reactor), write_time_(write_time) {
    BindReactor(reactor);
  }

  // Runs the call to its end; after `cancel_after` writes, if given, the client leaves.
  grpc::Status Run(std::optional<int> cancel_after) {
    int writes = 0;
    bool cancelled = false;
    while (true) {
      if (!cancelled && cancel_after == writes) {
        cancelled = true;
        reactor_->OnCancel();
      }
      const Event event = WaitForEvent();
      if (event == Event::kFinish) break;
      std::this_thread::sleep_for(write_time_);
      ++writes;
      reactor_->OnWriteDone(!cancelled);
    }
    reactor_->OnDone();
    return status_;
  }

  const std::vector<v1::GenerateResponse>& responses() const { return responses_; }

  void SendInitialMetadata() override {}
  void Write(const grpc::ByteBuffer* message, grpc::WriteOptions /*options*/) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(writing_) << "two writes in flight";
    EXPECT_FALSE(finished_) << "a write after the end";
    EXPECT_TRUE(rpc::ParseMessage(*message, responses_.emplace_back()).ok());
    writing_ = true;
    event_.notify_one();
  }
  void Finish(grpc::Status status) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(writing_) << "the end during a write";
    EXPECT_FALSE(finished_) << "two ends";
    status_ = std::move(status);
    finished_ = true;
    event_.notify_one();
  }
  void WriteAndFinish(const grpc::ByteBuffer* message, grpc::WriteOptions options,
                      grpc::Status status) override {
    Write(message, options);
    Finish(std::move(status));
  }

 private:
  enum class Event { kWrite, kFinish };

  Event WaitForEvent() {
    std::unique_lock lock(mutex_);
    event_.wait(lock, [this] { return writing_ || finished_; });
    if (!writing_) return Event::kFinish;
    writing_ = false;
    return Event::kWrite;
  }

  grpc::internal::ServerReactor* reactor() override { return reactor_; }
  void CallOnDone() override {}

  Reactor* const reactor_;
  const std::chrono::microseconds write_time_;
  std::mutex mutex_;
  std::condition_variable event_;
  std::vector<v1::GenerateResponse> responses_;
  bool writing_ = false;
  bool finished_ = false;
  grpc::Status status_;
};

class StreamCallTest : public ::testing::Test {
 protected:
  ~StreamCallTest() override { policy_.live->AwaitNone(); }

  static uint64_t CountTokens(const FakeWriter& writer) {
    uint64_t tokens = 0;
    for (const v1::GenerateResponse& response : writer.responses()) {
      tokens += response.delta().token_ids_size();
    }
    return tokens;
  }

  FakeWriter::Reactor* Start(uint32_t max_tokens) {
    return rpc::GenerateCall::Start(
        {*engine_, *sessions_, workers_, policy_},
        std::make_shared<rpc::Call>(policy_, "Generate", rpc::CallMetadata{}),
        rpc::SerializeMessage(TextRequest("hi", max_tokens)));
  }

  const std::unique_ptr<engine::Engine> engine_ =
      MakeTestEngine(ByteModelConfig(), {.num_slots = 4, .max_queue = 100});
  const std::unique_ptr<sessions::SessionStore> sessions_ = MakeTestSessions(*engine_, {});
  const rpc::CallPolicy policy_{.access = *access::Access::Open(""),
                                .observer = std::make_shared<rpc::CallObserver>()};
  rpc::WorkerPool workers_{1};
};

TEST_F(StreamCallTest, NothingIsLostWhateverTheReadersPace) {
  for (const int microseconds : {0, 10, 100, 1000, 5000}) {
    FakeWriter writer(Start(200), std::chrono::microseconds(microseconds));
    const grpc::Status status = writer.Run(std::nullopt);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(CountTokens(writer), 200U);
    ASSERT_FALSE(writer.responses().empty());
    EXPECT_EQ(writer.responses().back().finished().usage().generated_tokens(), 200U);
  }
}

TEST_F(StreamCallTest, SlowReadersGetMergedDeltas) {
  FakeWriter writer(Start(2000), std::chrono::milliseconds(20));
  EXPECT_TRUE(writer.Run(std::nullopt).ok());
  EXPECT_EQ(CountTokens(writer), 2000U);
  EXPECT_LT(writer.responses().size(), 1000U);
}

TEST_F(StreamCallTest, CancelAtAnyMomentEndsTheCallAndFreesTheSlot) {
  std::vector<std::thread> clients;
  for (int client = 0; client < 8; ++client) {
    clients.emplace_back([this, client] {
      for (int writes = 0; writes < 10; ++writes) {
        FakeWriter writer(Start(100'000'000), std::chrono::microseconds(client * 20));
        EXPECT_EQ(writer.Run(writes).error_code(), grpc::StatusCode::CANCELLED);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(Eventually([this] { return engine_->FreeSlots() == 4; }));
}

TEST_F(StreamCallTest, CancelRacesWithTheEnd) {
  for (int tokens = 1; tokens <= 60; ++tokens) {
    FakeWriter writer(Start(tokens), std::chrono::microseconds(0));
    const grpc::Status status = writer.Run(/*cancel_after=*/tokens / 2);
    EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::CANCELLED);
  }
}

}  // namespace
}  // namespace fmaserver::testing
