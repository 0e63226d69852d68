#include "kernels/cpu/sketch_pool.h"

#include <cstdint>
#include <cstring>
#include <limits>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fmaserver::kernels {
namespace {

constexpr int64_t kHeads = 3;
constexpr int64_t kBytes = 1664;

TEST(SketchPool, HeadsOfSuccessiveGroupsLieInARow) {
  SketchPool pool;
  const SketchColumn first = pool.TryTake(kHeads, kBytes);
  for (int64_t i = 1; i < SketchPool::kGroups; ++i) {
    const SketchColumn next = pool.TryTake(kHeads, kBytes);
    for (int64_t head = 0; head < kHeads; ++head) {
      EXPECT_EQ(next.Head(head) - first.Head(head), i * kBytes);
    }
  }
}

TEST(SketchPool, ColumnsDoNotOverlap) {
  SketchPool pool;
  std::vector<SketchColumn> columns;
  for (int i = 0; i < 200; ++i) {
    const int64_t bytes = i % 2 == 0 ? kBytes : kBytes / 2;
    columns.push_back(pool.TryTake(kHeads, bytes));
    for (int64_t head = 0; head < kHeads; ++head) {
      std::memset(columns.back().Head(head), i, static_cast<size_t>(bytes));
    }
  }
  for (int i = 0; i < 200; ++i) {
    for (int64_t head = 0; head < kHeads; ++head) {
      EXPECT_EQ(columns[i].Head(head)[0], static_cast<std::byte>(i));
      EXPECT_EQ(columns[i].Head(head)[columns[i].head_bytes - 1], static_cast<std::byte>(i));
    }
  }
}

/// Gives back every third column, then all, and takes them anew: no memory is added.
TEST(SketchPool, WhatCameBackIsUsedAgain) {
  SketchPool pool;
  std::vector<SketchColumn> columns;
  std::set<std::byte*> known;
  for (int64_t i = 0; i < 2 * SketchPool::kGroups; ++i) {
    columns.push_back(pool.TryTake(kHeads, kBytes));
    known.insert(columns.back().first);
  }
  EXPECT_EQ(known.size(), columns.size());
  for (const size_t step : {3, 1}) {
    for (size_t i = 0; i < columns.size(); i += step) pool.Give(columns[i]);
    std::set<std::byte*> again;
    for (size_t i = 0; i < columns.size(); i += step) {
      columns[i] = pool.TryTake(kHeads, kBytes);
      EXPECT_EQ(known.count(columns[i].first), 1);
      EXPECT_TRUE(again.insert(columns[i].first).second);
    }
  }
  EXPECT_EQ(known.count(pool.TryTake(kHeads, kBytes).first), 0);
}

TEST(SketchPool, WhatCannotBeHadIsNull) {
  SketchPool pool;
  EXPECT_EQ(pool.TryTake(1, std::numeric_limits<int64_t>::max() / 256).first, nullptr);
}

}  // namespace
}  // namespace fmaserver::kernels
