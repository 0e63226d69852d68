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
      // Now and then long enough for the workers to fall asleep.
      if (round % 100 == 99) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
}

}  // namespace
}  // namespace fmaserver::kernels
