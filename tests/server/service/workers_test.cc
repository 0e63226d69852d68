#include "server/service/workers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>
#include <memory>
#include <string>
#include <vector>

#include "base/retry.h"

namespace fmaserver::testing {
namespace {

using service::Workers;

constexpr int64_t kMany = int64_t{1} << 40;

TEST(Workers, BeginInTheOrderOfArrivalAndEndBeforeTheDestructor) {
  std::vector<int> order;
  {
    Workers workers(1, kMany);
    for (int i = 0; i < 100; ++i) {
      EXPECT_TRUE(workers.Start([&order, i] { order.push_back(i); }).ok());
    }
  }
  ASSERT_EQ(order.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

TEST(Workers, RefuseWhatIsTooMuchAndTakeItWhenThereIsRoom) {
  std::latch busy(1);
  std::promise<void> release;
  std::atomic<int> done = 0;
  {
    Workers workers(1, 10);
    ASSERT_TRUE(workers
                    .Start([&] {
                      busy.count_down();
                      release.get_future().wait();
                    })
                    .ok());
    busy.wait();
    const auto count = [&done] { ++done; };
    EXPECT_TRUE(workers.Start(count, 1'000).ok()) << "nothing waits yet";
    const absl::Status refused = workers.Start(count, 1);
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_TRUE(refused.GetPayload(kRetryAfterSeconds).has_value());
    workers.Continue(count);
    release.set_value();
  }
  EXPECT_EQ(done, 2);
}

// A task may hold the last reference to a call, whose destructor may submit more work.
TEST(Workers, ATaskIsGoneBeforeTheQueueIsLockedAgain) {
  std::promise<void> second;
  Workers workers(1, kMany);
  struct Last {
    Workers& workers;
    std::promise<void>& second;
    ~Last() {
      workers.Continue([&promise = second] { promise.set_value(); });
    }
  };
  ASSERT_TRUE(
      workers.Start([last = std::shared_ptr<Last>(new Last{workers, second})] { (void)last; })
          .ok());
  second.get_future().wait();
}

TEST(Workers, ManyThreadsLoseNothing) {
  std::atomic<int> done = 0;
  {
    Workers workers(3, kMany);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int k = 0; k < 1000; ++k) {
          EXPECT_TRUE(workers.Start([&done] { ++done; }).ok());
          workers.Continue([&done] { ++done; });
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(done, 8000);
}

}  // namespace
}  // namespace fmaserver::testing
