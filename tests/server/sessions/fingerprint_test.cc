#include "server/sessions/fingerprint.h"

#include <set>

#include "gtest/gtest.h"

namespace fmaserver::sessions {
namespace {

TEST(FingerprintTest, EverythingThatGivesBytesAMeaningCounts) {
  kernels::AttentionSpec spec{.num_heads = 4,
                              .num_kv_heads = 2,
                              .head_dim = 8,
                              .hierarchy = {.group_size = 4, .rank = 2, .num_levels = 3}};
  std::set<std::string> prints = {
      ModelFingerprint("a", kernels::SlotLayout(spec, 2, kernels::CacheType::kF32))};
  EXPECT_TRUE(prints.contains(
      ModelFingerprint("a", kernels::SlotLayout(spec, 2, kernels::CacheType::kF32))));
  EXPECT_TRUE(
      prints.insert(ModelFingerprint("b", kernels::SlotLayout(spec, 2, kernels::CacheType::kF32)))
          .second);
  EXPECT_TRUE(
      prints.insert(ModelFingerprint("a", kernels::SlotLayout(spec, 2, kernels::CacheType::kBF16)))
          .second);
  EXPECT_TRUE(
      prints.insert(ModelFingerprint("a", kernels::SlotLayout(spec, 2, kernels::CacheType::kInt8)))
          .second);
  EXPECT_TRUE(
      prints.insert(ModelFingerprint("a", kernels::SlotLayout(spec, 3, kernels::CacheType::kF32)))
          .second);
  const kernels::SlotLayout layout(spec, 2, kernels::CacheType::kF32);
  EXPECT_TRUE(prints.contains(ModelFingerprint("a", layout, "")));
  EXPECT_TRUE(prints.insert(ModelFingerprint("a", layout, "int8")).second);
  EXPECT_TRUE(prints.insert(ModelFingerprint("a", layout, "int4")).second);
  const kernels::SlotLayout same(spec, 2, kernels::CacheType::kF32, kernels::CacheType::kF32);
  EXPECT_TRUE(prints.contains(ModelFingerprint("a", same)));
  for (const kernels::CacheType archive : {kernels::CacheType::kBF16, kernels::CacheType::kInt8}) {
    const kernels::SlotLayout less(spec, 2, kernels::CacheType::kF32, archive);
    EXPECT_TRUE(prints.insert(ModelFingerprint("a", less)).second);
  }
  EXPECT_EQ(prints.begin()->size(), 32);
}

}  // namespace
}  // namespace fmaserver::sessions
