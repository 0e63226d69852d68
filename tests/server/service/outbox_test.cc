// The outbox of a stream, step by step and with many interleavings of threads.
#include "server/service/outbox.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/service/fake_door.h"

namespace fmaserver::testing {

/// Texts merge until one ends with a full stop.
struct Text {
  std::string bytes;
};
size_t BytesOf(const Text& text) { return text.bytes.size(); }
bool Merge(Text& last, Text& next) {
  if (last.bytes.ends_with('.')) return false;
  last.bytes += next.bytes;
  return true;
}

namespace {

using Outbox = service::Outbox<Text>;

/// Records what it is asked to do; it has nothing to write for a text that begins with a dash.
class Notes final : public service::EventWire<Text> {
 public:
  bool Write(const Text& event) override {
    said.push_back(event.bytes);
    return !event.bytes.starts_with('-');
  }
  void Finish(const absl::Status& status) override {
    said.push_back(std::string("end ") + absl::StatusCodeToString(status.code()));
  }
  std::vector<std::string> said;
};

using Said = std::vector<std::string>;

class OutboxTest : public ::testing::Test {
 protected:
  const std::shared_ptr<Notes> wire_ = std::make_shared<Notes>();
  Outbox outbox_{wire_};
};

TEST_F(OutboxTest, WritesOneAtATimeAndJoinsWhatWaits) {
  outbox_.Send({"a"});
  outbox_.Send({"b"});
  outbox_.Send({"c."});
  outbox_.Send({"d"});
  EXPECT_TRUE(outbox_.Close(absl::OkStatus()));
  EXPECT_EQ(wire_->said, (Said{"a"}));
  EXPECT_FALSE(outbox_.Written());
  EXPECT_EQ(wire_->said, (Said{"a", "bc."}));
  outbox_.Written();
  outbox_.Written();
  EXPECT_EQ(wire_->said, (Said{"a", "bc.", "d", "end OK"}));
}

TEST_F(OutboxTest, WhatIsNotWrittenIsNotWaitedFor) {
  outbox_.Send({"-a."});
  outbox_.Send({"b"});
  EXPECT_EQ(wire_->said, (Said{"-a.", "b"}));
  outbox_.Send({"-c."});
  outbox_.Send({"-d."});
  outbox_.Send({"e"});
  EXPECT_EQ(wire_->said.size(), 2U) << "b is being written";
  outbox_.Written();
  EXPECT_EQ(wire_->said, (Said{"-a.", "b", "-c.", "-d.", "e"}));
  outbox_.Send({"-f"});
  outbox_.Close(absl::OkStatus());
  outbox_.Written();
  EXPECT_EQ(wire_->said, (Said{"-a.", "b", "-c.", "-d.", "e", "-f", "end OK"}));
}

TEST_F(OutboxTest, TheFirstEndCounts) {
  EXPECT_FALSE(outbox_.closed());
  EXPECT_TRUE(outbox_.Close(absl::InternalError("x")));
  EXPECT_TRUE(outbox_.closed());
  EXPECT_FALSE(outbox_.Close(absl::OkStatus()));
  EXPECT_FALSE(outbox_.Abandon(absl::CancelledError()));
  outbox_.Send({"late"});
  EXPECT_EQ(wire_->said, (Said{"end INTERNAL"}));
}

TEST_F(OutboxTest, AbandoningDropsWhatWaitsAndEndsAfterTheWrite) {
  outbox_.Send({"a"});
  outbox_.Send({"b"});
  EXPECT_TRUE(outbox_.Close(absl::OkStatus()));
  EXPECT_FALSE(outbox_.Abandon(absl::CancelledError()));
  EXPECT_EQ(wire_->said, (Said{"a"})) << "no end during a write";
  outbox_.Written();
  EXPECT_EQ(wire_->said, (Said{"a", "end OK"})) << "the first word stays the last";
}

TEST_F(OutboxTest, TellsWhenThereIsRoomAgain) {
  const std::string piece(Outbox::kMaxWaitingBytes / 8 + 1, 'x');
  outbox_.Send({piece});
  int sent = 0;
  for (; !outbox_.IsFull(); ++sent) outbox_.Send({piece});
  EXPECT_EQ(sent, 8);
  EXPECT_TRUE(outbox_.Written()) << "7 are left";
  EXPECT_FALSE(outbox_.Written()) << "there was room before";
}

TEST_F(OutboxTest, MergesUpToABound) {
  outbox_.Send({"a"});
  const std::string piece(Outbox::kMaxMergedBytes / 2, 'x');
  for (int i = 0; i < 5; ++i) outbox_.Send({piece});
  for (int i = 0; i < 4; ++i) outbox_.Written();
  EXPECT_EQ(wire_->said.size(), 4U);
  EXPECT_EQ(wire_->said[1].size(), Outbox::kMaxMergedBytes);
}

/// A call that consists only of its outbox.
struct BareCall {
  void OnWritten(const absl::Status& status) {
    if (!status.ok()) outbox.Abandon(status);
    outbox.Written();
  }
  void OnCancel(const absl::Status& why) { outbox.Abandon(why); }
  Outbox outbox;
};

TEST(OutboxThreadsTest, NothingIsLostWhoeverIsFaster) {
  for (const int microseconds : {0, 1, 50}) {
    const auto door = std::make_shared<FakeDoor<Text>>();
    BareCall call{.outbox = Outbox(door)};
    std::thread sender([&call] {
      for (int i = 0; i < 3000; ++i) call.outbox.Send({"x"});
      call.outbox.Close(absl::OkStatus());
    });
    EXPECT_TRUE(door->Run(call, std::chrono::microseconds(microseconds)).ok());
    sender.join();
    std::string all;
    for (const Text& text : door->events()) all += text.bytes;
    EXPECT_EQ(all, std::string(3000, 'x'));
  }
}

TEST(OutboxThreadsTest, CancellingRacesWithTheEnd) {
  for (int round = 0; round < 300; ++round) {
    const auto door = std::make_shared<FakeDoor<Text>>();
    BareCall call{.outbox = Outbox(door)};
    std::thread sender([&call, round] {
      for (int i = 0; i < round % 20; ++i) call.outbox.Send({"x."});
      call.outbox.Close(absl::OkStatus());
    });
    const absl::Status status = door->Run(call, std::chrono::microseconds(0), round % 7);
    EXPECT_TRUE(status.ok() || absl::IsCancelled(status));
    sender.join();
  }
}

}  // namespace
}  // namespace fmaserver::testing
