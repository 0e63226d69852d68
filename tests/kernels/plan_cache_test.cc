#include "kernels/cuda/dense/plan_cache.h"

#include "gtest/gtest.h"

namespace fmaserver::kernels::cuda {
namespace {

TEST(PlanCache, MakesAPlanOnceForEachShape) {
  PlanCache<int, int> plans;
  int made = 0;
  const auto make = [&](int& plan) {
    plan = ++made;
    return absl::OkStatus();
  };
  int* const first = *plans.Find(7, make);
  EXPECT_EQ(*first, 1);
  EXPECT_EQ(**plans.Find(8, make), 2);
  EXPECT_EQ(*plans.Find(7, make), first);
  EXPECT_EQ(made, 2);
}

TEST(PlanCache, AFailureIsToldAndForgotten) {
  PlanCache<int, int> plans;
  const auto fails = [](int& plan) {
    plan = 1;
    return absl::ResourceExhaustedError("no memory for once");
  };
  EXPECT_EQ(plans.Find(7, fails).status().message(), "no memory for once");
  const auto make = [](int& plan) {
    plan = 2;
    return absl::OkStatus();
  };
  const auto plan = plans.Find(7, make);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(**plan, 2);
}

}  // namespace
}  // namespace fmaserver::kernels::cuda
