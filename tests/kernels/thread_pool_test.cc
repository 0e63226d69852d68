#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace fmaserver::kernels {
namespace {

TEST(ThreadPool, RunsEveryIndexOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 300; ++round) {
      std::vector<std::atomic<int>> runs(round % 40);
      pool.ParallelFor(static_cast<int64_t>(runs.size()), [&](int64_t index, int worker) {
        ASSERT_LT(worker, threads);
        runs[index].fetch_add(1);
      });
      for (const auto& count : runs) ASSERT_EQ(count.load(), 1);
      // Now and then wait long enough for the workers to fall asleep.
      if (round % 100 == 99) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
}

TEST(ThreadPool, ManyMoreThreadsThanCoresRunShortRegions) {
  ThreadPool pool(64);
  int64_t sum = 0;
  for (int region = 0; region < 20'000; ++region) {
    std::atomic<int64_t> part{0};
    pool.ParallelFor(3, [&](int64_t index, int) { part.fetch_add(index + region); });
    sum += part.load();
  }
  EXPECT_EQ(sum, int64_t{20'000} * 3 + int64_t{3} * 20'000 * 19'999 / 2);
}

}  // namespace
}  // namespace fmaserver::kernels
