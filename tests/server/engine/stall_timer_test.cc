#include "server/engine/stall_timer.h"

#include <chrono>

#include "gtest/gtest.h"

namespace fmaserver::testing {
namespace {

TEST(StallTimer, CountsFromTheFirstCheckThatFindsTheReaderBehind) {
  engine::StallTimer timer;
  Clock::time_point now;
  const auto check = [&](bool keeps_up, int seconds) {
    now += std::chrono::seconds(seconds);
    return timer.Check(keeps_up, now);
  };
  EXPECT_EQ(check(true, 1), 0);
  EXPECT_EQ(check(false, 5), 0);
  EXPECT_EQ(check(false, 7), 7);
  EXPECT_EQ(check(false, 60), 67);
  EXPECT_EQ(check(true, 1), 0);
  EXPECT_EQ(check(false, 9), 0) << "anew";
  EXPECT_EQ(check(false, 2), 2);
}

}  // namespace
}  // namespace fmaserver::testing
