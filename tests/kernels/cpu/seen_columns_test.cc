#include "kernels/cpu/seen_columns.h"

#include <vector>

#include "gtest/gtest.h"

namespace fmaserver::kernels::cpu {
namespace {

constexpr int64_t kNearBegin = 128;

std::vector<ColumnStretch> Seen(const std::vector<ColumnRun>& runs) {
  std::vector<ColumnStretch> seen = {{1, 2}};  // of another block
  FindSeenColumns(runs, kNearBegin, seen);
  return seen;
}

TEST(SeenColumnsTest, NothingIsSeenOfNothing) {
  EXPECT_TRUE(Seen({}).empty());
  EXPECT_TRUE(Seen({{.column = 40, .count = 0}}).empty());
}

TEST(SeenColumnsTest, RunsAreWidenedToLanesAndJoinedInOrder) {
  EXPECT_EQ(
      Seen({{.column = 70, .count = 4}, {.column = 0, .count = 4}, {.column = 17, .count = 1}}),
      (std::vector<ColumnStretch>{{0, 32}, {64, 80}}));
  // The second lies within what the first was widened to.
  EXPECT_EQ(Seen({{.column = 33, .count = 20}, {.column = 50, .count = 2}}),
            (std::vector<ColumnStretch>{{32, 64}}));
}

TEST(SeenColumnsTest, FarAndNearFieldStayApart) {
  EXPECT_EQ(Seen({{.column = 112, .count = 16},
                  {.column = 160, .count = 3},
                  {.column = 128, .count = 32}}),
            (std::vector<ColumnStretch>{{112, 128}, {128, 176}}));
}

}  // namespace
}  // namespace fmaserver::kernels::cpu
