// Sessions exported and imported as blobs, and senders that leave in the middle.
#include "server/service/transfer.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tests/server/service/service_fixture.h"

namespace fmaserver::testing {
namespace {

/// What an Import call asks of its sender.
class FakeSender final : public service::ImportWire {
 public:
  void Read() override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(reading_) << "two reads at once";
    reading_ = true;
    changed_.notify_all();
  }
  void Finish(const absl::StatusOr<sessions::SessionInfo>& session) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(reading_) << "the end during a read";
    end_ = session;
    changed_.notify_all();
  }

  /// Waits until a piece is wanted (true) or the call is over (false).
  bool AwaitRead() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return reading_ || end_.has_value(); });
    return std::exchange(reading_, false);
  }
  const absl::StatusOr<sessions::SessionInfo>& AwaitEnd() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return end_.has_value(); });
    return *end_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool reading_ = false;
  std::optional<absl::StatusOr<sessions::SessionInfo>> end_;
};

class TransferTest : public ::testing::Test {
 protected:
  TransferTest() {
    Require(service_.sessions().Create({kDefaultTenant, "talk"}, {}).status());
    service::GenerateRequest turn = TextRequest("some words", 30);
    turn.session_id = "talk";
    GenerateCall call(service_, turn);
    EXPECT_TRUE(call.Run().ok());
  }

  std::string Export(const std::string& id, absl::Status* status = nullptr) {
    const auto door = std::make_shared<FakeDoor<std::string>>();
    const auto call =
        service::Exporting::Start(*service_, service_.Begin(service::kExportSession), door, [id] {
          return absl::StatusOr<service::Exporting::Request>({.model = {}, .session_id = id});
        });
    const absl::Status end = door->Run(*call);
    if (status != nullptr) *status = end;
    std::string blob;
    for (const std::string& piece : door->events()) blob += piece;
    return blob;
  }

  std::shared_ptr<service::Importing> StartImport(const std::shared_ptr<FakeSender>& sender) {
    return service::Importing::Start(*service_, service_.Begin(service::kImportSession), sender);
  }

  /// Sends `blob` in pieces as they are wanted. False when the call ended before that.
  static bool Send(service::Importing& call, FakeSender& sender, const std::string& blob) {
    constexpr size_t kPiece = 1000;
    for (size_t begin = 0; begin < blob.size(); begin += kPiece) {
      if (!sender.AwaitRead()) return false;
      call.OnPiece([piece = blob.substr(begin, kPiece)] {
        return absl::StatusOr<service::Importing::Piece>(
            {.model = {}, .session_id = "copy", .lifetime = {}, .data = piece});
      });
    }
    return sender.AwaitRead();
  }

  int64_t CountSessions() {
    return std::ssize(service_.sessions().List(kDefaultTenant, "", 100)->sessions);
  }

  TestService service_;
};

TEST_F(TransferTest, ABlobBecomesTheSameSession) {
  const std::string blob = Export("talk");
  const auto sender = std::make_shared<FakeSender>();
  const auto call = StartImport(sender);
  ASSERT_TRUE(Send(*call, *sender, blob));
  call->OnEnd();
  const auto& copy = sender->AwaitEnd();
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_EQ(copy->id, "copy");
  EXPECT_EQ(copy->tokens, 40);
  // Equal except for the ids of its states, which are random.
  EXPECT_EQ(Export("copy").size(), blob.size());
}

TEST_F(TransferTest, WhatIsNoBlobIsRefused) {
  const auto sender = std::make_shared<FakeSender>();
  const auto call = StartImport(sender);
  EXPECT_FALSE(Send(*call, *sender, std::string(5000, 'x')));
  EXPECT_EQ(sender->AwaitEnd().status().code(), absl::StatusCode::kInvalidArgument);
  const auto nothing = std::make_shared<FakeSender>();
  const auto empty = StartImport(nothing);
  ASSERT_TRUE(nothing->AwaitRead());
  empty->OnEnd();
  EXPECT_EQ(nothing->AwaitEnd().status().code(), absl::StatusCode::kInvalidArgument);
  absl::Status status;
  Export("no-such-session", &status);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
}

// gRPC reports a stream that broke off like a complete one, and the cancellation a moment before or
// after.
TEST_F(TransferTest, ASenderWhoLeavesMakesNoSession) {
  const std::string blob = Export("talk");
  for (const bool whole : {true, false}) {
    service_.reports().Forget();
    {
      const auto sender = std::make_shared<FakeSender>();
      const auto call = StartImport(sender);
      ASSERT_TRUE(Send(*call, *sender, whole ? blob : blob.substr(0, blob.size() / 2)));
      call->OnCancel(absl::CancelledError("gone"));
      call->OnEnd();
      EXPECT_TRUE(absl::IsCancelled(sender->AwaitEnd().status()));
    }
    EXPECT_TRUE(absl::IsCancelled(service_.reports().Await(service::kImportSession).status));
    EXPECT_EQ(CountSessions(), 1);
  }
}

TEST_F(TransferTest, AReaderWhoLeavesEndsTheExport) {
  const auto door = std::make_shared<FakeDoor<std::string>>();
  const auto call =
      service::Exporting::Start(*service_, service_.Begin(service::kExportSession), door, [] {
        return absl::StatusOr<service::Exporting::Request>({.model = {}, .session_id = "talk"});
      });
  EXPECT_TRUE(absl::IsCancelled(door->Run(*call, std::chrono::microseconds(0), 0)));
}

}  // namespace
}  // namespace fmaserver::testing
