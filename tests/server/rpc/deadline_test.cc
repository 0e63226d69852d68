#include "server/rpc/deadline.h"

#include <gtest/gtest.h>

#include <chrono>

namespace fmaserver::testing {
namespace {

using rpc::Deadline;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Deadline::Time kStart{std::chrono::hours(400'000)};

bool IsDeadlines(milliseconds length, milliseconds at) {
  const absl::Status why = Deadline(kStart + length, kStart).WhyCancelled(kStart + at);
  EXPECT_TRUE(absl::IsDeadlineExceeded(why) || absl::IsCancelled(why));
  return absl::IsDeadlineExceeded(why);
}

TEST(DeadlineTest, ACancellationAboutThenIsTheDeadlines) {
  EXPECT_TRUE(IsDeadlines(seconds(1), seconds(1)));
  EXPECT_TRUE(IsDeadlines(seconds(1), seconds(100)));
  EXPECT_TRUE(IsDeadlines(seconds(1), milliseconds(960)));
  EXPECT_FALSE(IsDeadlines(seconds(1), milliseconds(900)));
  EXPECT_TRUE(IsDeadlines(seconds(1000), seconds(990)));
  EXPECT_FALSE(IsDeadlines(seconds(1000), seconds(970)));
  EXPECT_FALSE(IsDeadlines(seconds(1000), seconds(0)));
}

TEST(DeadlineTest, WithoutOneItIsTheClients) {
  EXPECT_TRUE(absl::IsCancelled(Deadline(Deadline::Time::max(), kStart).WhyCancelled()));
}

}  // namespace
}  // namespace fmaserver::testing
