#include "server/load_progress.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace fmaserver {
namespace {

TEST(LoadProgress, NamesEachModelThatLoadsAndWhatIsDoneForIt) {
  LoadProgress progress([](const std::string&) {});
  EXPECT_TRUE(progress.IsEmpty());
  EXPECT_EQ(progress.Text(), "loading");
  LoadProgress::Model first(progress, "first");
  EXPECT_FALSE(progress.IsEmpty());
  EXPECT_EQ(progress.Text(), "loading first: its files");
  {
    LoadProgress::Model second(progress, "second");
    second.Set("1 of 2 MiB of weights");
    first.Set("3 of 4 MiB of weights");
    EXPECT_EQ(progress.Text(),
              "loading first: 3 of 4 MiB of weights\nloading second: 1 of 2 MiB of weights");
  }
  EXPECT_EQ(progress.Text(), "loading first: 3 of 4 MiB of weights");
}

TEST(LoadProgress, SaysAgainAndAgainHowFarItIs) {
  std::mutex mutex;
  std::vector<std::string> lines;
  const auto count = [&](const std::string& line) {
    const std::lock_guard lock(mutex);
    return std::ranges::count(lines, line);
  };
  const auto await = [&](const std::string& line, int64_t times) {
    while (count(line) < times) std::this_thread::yield();
  };
  LoadProgress progress(
      [&](const std::string& line) {
        const std::lock_guard lock(mutex);
        lines.push_back(line);
      },
      std::chrono::milliseconds(1));
  {
    LoadProgress::Model model(progress, "large");
    await("loading large: its files", 2);
    model.Set("half");
    await("loading large: half", 2);
  }
  const size_t said = lines.size();  // nobody speaks any more
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(lines.size(), said);
}

TEST(LoadProgress, WhatLoadsQuicklyIsNotSpokenOf) {
  bool said = false;
  LoadProgress progress([&](const std::string&) { said = true; }, std::chrono::hours(1));
  const auto begin = std::chrono::steady_clock::now();
  LoadProgress::Model(progress, "small").Set("all");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::minutes(1));
  EXPECT_FALSE(said);
}

}  // namespace
}  // namespace fmaserver
