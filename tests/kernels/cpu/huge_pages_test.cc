#include "kernels/cpu/huge_pages.h"

#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/fma/slot_layout.h"

namespace fmaserver::kernels {
namespace {

TEST(HugePages, PartsDoNotOverlapAndOutliveEachOther) {
  std::vector<BlockPart> parts;
  const std::vector<int64_t> sizes = {1, 100, 5 << 20, 64, 7 << 20, 20 << 20, 3};
  for (size_t i = 0; i < sizes.size(); ++i) {
    parts.push_back(TryAllocateInHugePages(sizes[i]));
    ASSERT_NE(parts[i], nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(parts[i].get()) % SlotLayout::kAlignment, 0);
    std::memset(parts[i].get(), static_cast<int>(i), static_cast<size_t>(sizes[i]));
  }
  parts[0].reset();
  for (size_t i = 1; i < sizes.size(); ++i) {
    EXPECT_EQ(parts[i][0], static_cast<std::byte>(i));
    EXPECT_EQ(parts[i][sizes[i] - 1], static_cast<std::byte>(i));
  }
}

TEST(HugePages, WhatCannotBeHadIsNull) {
  EXPECT_EQ(TryAllocateInHugePages(std::numeric_limits<int64_t>::max() / 4), nullptr);
}

}  // namespace
}  // namespace fmaserver::kernels
