// The plan of a step on random inputs: its promises hold for each of them.
#include "server/engine/step_plan.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace fmaserver::testing {
namespace {

using engine::Compose;
using engine::PlannedRows;
using engine::ReadySequence;

std::vector<ReadySequence> RandomReady(std::mt19937& random) {
  std::vector<ReadySequence> ready(random() % 40);
  const auto priorities = 1 + random() % 4;
  for (ReadySequence& sequence : ready) {
    sequence.priority = static_cast<int32_t>(random() % priorities) - 1;
    sequence.reading = random() % 2 == 0;
    sequence.pending = sequence.reading ? 1 + random() % (random() % 2 == 0 ? 5 : 3000) : 1;
    if (!sequence.reading && random() % 8 == 0) sequence.pending = 4;  // with drafted tokens
  }
  return ready;
}

/// Rows of each sequence, 0 for those that are not in the plan.
std::vector<int64_t> RowsOf(const std::vector<ReadySequence>& ready,
                            const std::vector<PlannedRows>& plan) {
  std::vector<int64_t> rows(ready.size());
  for (const PlannedRows& planned : plan) rows.at(planned.sequence) = planned.rows;
  return rows;
}

template <typename Check>
void OnRandomPlans(const Check& check) {
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    const std::vector<ReadySequence> ready = RandomReady(random);
    const auto budget = static_cast<int64_t>(1 + random() % (round % 2 == 0 ? 20 : 600));
    const std::vector<PlannedRows> plan = Compose(ready, budget);
    check(ready, budget, plan, RowsOf(ready, plan));
    if (::testing::Test::HasFailure()) FAIL() << "round " << round;
  }
}

TEST(Compose, NobodyTwiceAndNobodyForNothing) {
  OnRandomPlans([](const auto& ready, int64_t, const auto& plan, const auto& rows) {
    std::set<size_t> seen;
    for (const PlannedRows& planned : plan) {
      EXPECT_TRUE(seen.insert(planned.sequence).second);
      EXPECT_GT(planned.rows, 0);
    }
    for (size_t i = 0; i < ready.size(); ++i) EXPECT_LE(rows[i], ready[i].pending);
  });
}

TEST(Compose, WhateverDoesNotReadGetsAllItsRows) {
  OnRandomPlans([](const auto& ready, int64_t, const auto&, const auto& rows) {
    for (size_t i = 0; i < ready.size(); ++i) {
      if (!ready[i].reading) {
        EXPECT_EQ(rows[i], ready[i].pending);
      }
    }
  });
}

TEST(Compose, PromptsTakeTheWholeBudgetOrAllThatPends) {
  OnRandomPlans([](const auto& ready, int64_t budget, const auto&, const auto& rows) {
    int64_t taken = 0;
    int64_t pending = 0;
    for (size_t i = 0; i < ready.size(); ++i) {
      if (!ready[i].reading) continue;
      taken += rows[i];
      pending += ready[i].pending;
    }
    EXPECT_EQ(taken, std::min(budget, pending));
  });
}

TEST(Compose, TheMoreUrgentComesFirstAndTakesWhatItCanUse) {
  OnRandomPlans([](const auto& ready, int64_t, const auto& plan, const auto& rows) {
    for (size_t i = 1; i < plan.size(); ++i) {
      const auto key = [&](const PlannedRows& p) {
        return std::pair(ready[p.sequence].priority, p.sequence);
      };
      EXPECT_LT(key(plan[i - 1]), key(plan[i]));
    }
    for (size_t urgent = 0; urgent < ready.size(); ++urgent) {
      if (!ready[urgent].reading || rows[urgent] == ready[urgent].pending) continue;
      for (size_t other = 0; other < ready.size(); ++other) {
        if (ready[other].reading && ready[other].priority > ready[urgent].priority) {
          EXPECT_EQ(rows[other], 0) << "while more urgent rows pend";
        }
      }
    }
  });
}

TEST(Compose, PromptsOfOnePriorityShareEvenly) {
  OnRandomPlans([](const auto& ready, int64_t budget, const auto&, const auto& rows) {
    std::map<int32_t, std::vector<size_t>> readers;
    for (size_t i = 0; i < ready.size(); ++i) {
      if (ready[i].reading) readers[ready[i].priority].push_back(i);
    }
    int64_t left = budget;
    for (const auto& [priority, sequences] : readers) {
      const auto count = std::ssize(sequences);
      for (const size_t i : sequences) {
        // An even share at least, unless it needs less.
        EXPECT_GE(rows[i], std::min(ready[i].pending, left / count));
      }
      for (const size_t i : sequences) {
        for (const size_t other : sequences) {
          if (rows[other] == ready[other].pending) continue;
          EXPECT_GE(rows[other] + 1, rows[i]) << "it could use more";
          if (other < i) {
            EXPECT_GE(rows[other], std::min(rows[i], ready[other].pending)) << "it came first";
          }
        }
      }
      for (const size_t i : sequences) left -= rows[i];
    }
  });
}

TEST(Compose, EveryPromptEndsThoughThereAreFewerRowsThanPrompts) {
  std::mt19937 random(2);
  for (int round = 0; round < 100; ++round) {
    std::vector<ReadySequence> ready = RandomReady(random);
    std::erase_if(ready, [](const ReadySequence& sequence) { return !sequence.reading; });
    int64_t pending = 0;
    for (const ReadySequence& sequence : ready) pending += sequence.pending;
    for (; pending > 0; --pending) {
      const std::vector<PlannedRows> plan = Compose(ready, 1);
      ASSERT_EQ(plan.size(), 1U);
      if (--ready[plan[0].sequence].pending == 0) {
        ready.erase(ready.begin() + static_cast<int64_t>(plan[0].sequence));
      }
    }
    EXPECT_TRUE(ready.empty());
  }
}

TEST(Compose, AnExample) {
  const std::vector<ReadySequence> ready = {
      {.priority = 0, .reading = true, .pending = 100},
      {.priority = 1, .reading = true, .pending = 100},
      {.priority = 0, .reading = false, .pending = 1},
      {.priority = 0, .reading = true, .pending = 3},
      {.priority = 0, .reading = true, .pending = 2},
      {.priority = -1, .reading = false, .pending = 1},
  };
  EXPECT_EQ(Compose(ready, 12), (std::vector<PlannedRows>{{5, 1}, {0, 7}, {2, 1}, {3, 3}, {4, 2}}))
      << "what the short ones leave goes to the long one of their priority";
  EXPECT_EQ(Compose({}, 12), std::vector<PlannedRows>());
}

}  // namespace
}  // namespace fmaserver::testing
