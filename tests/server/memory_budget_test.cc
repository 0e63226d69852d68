// Models and a limit of memory: what fits, what is refused, and what is only warned of.
#include "server/memory_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace fmaserver::testing {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMebibyte = 1 << 20;

ModelMemory Needs(int64_t weights, int64_t slots = 0) {
  return {.weights = weights * kMebibyte, .slots = slots * kMebibyte};
}

TEST(MemoryBudgetTest, WhatIsNeededFitsOrIsRefusedWithTheNumbers) {
  MemoryBudget budget(100 * kMebibyte, 0);
  EXPECT_TRUE(budget.Reserve("exact", Needs(60, 40)).ok());
  const auto refused = budget.Reserve("large", Needs(60, 41));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  const std::string message(refused.status().message());
  for (const char* part :
       {"\"large\"", "101.0 MiB", "weights 60.0 MiB", "slots 41.0 MiB", "100.0 MiB", "--slots"}) {
    EXPECT_THAT(message, HasSubstr(part));
  }
}

TEST(MemoryBudgetTest, ModelsShareTheLimitUntilTheyAreGone) {
  MemoryBudget budget(100 * kMebibyte, 0);
  auto first = budget.Reserve("first", Needs(60));
  ASSERT_TRUE(first.ok());
  EXPECT_THAT(std::string(budget.Reserve("second", Needs(60)).status().message()),
              HasSubstr("up to 40.0 MiB of the 100.0 MiB"));
  const std::shared_ptr<const void> copy = *first;
  first = absl::CancelledError();
  EXPECT_FALSE(budget.Reserve("second", Needs(60)).ok()) << "a copy is held";
}

TEST(MemoryBudgetTest, RoomComesBack) {
  MemoryBudget budget(100 * kMebibyte, 0);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(budget.Reserve("again", Needs(60)).ok());
}

TEST(MemoryBudgetTest, WhatMayBeUsedIsWarnedOf) {
  MemoryBudget budget(100 * kMebibyte, 10 * kMebibyte);
  ModelMemory memory = Needs(20, 20);
  memory.prefixes = 25 * kMebibyte;
  memory.sessions = 25 * kMebibyte;
  const auto one = budget.Reserve("one", memory);
  EXPECT_EQ(budget.Excess(), "") << "100 of 100";
  const auto two = budget.Reserve("two", Needs(1));
  ASSERT_TRUE(two.ok());
  EXPECT_THAT(budget.Excess(), HasSubstr("up to 101.0 MiB"));
  EXPECT_THAT(budget.Excess(), HasSubstr("allows 100.0 MiB"));
}

TEST(MemoryBudgetTest, WithoutALimitEverythingFits) {
  MemoryBudget budget(std::nullopt, 1);
  EXPECT_TRUE(budget.Reserve("any", Needs(int64_t{1} << 40)).ok());
  EXPECT_EQ(budget.Excess(), "");
}

}  // namespace
}  // namespace fmaserver::testing
