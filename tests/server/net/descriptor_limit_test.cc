#include "server/net/descriptor_limit.h"

#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace fmaserver::net {
namespace {

void ExpectLimits(const absl::StatusOr<ConnectionLimits>& limits, int total, int per_address) {
  ASSERT_TRUE(limits.ok()) << limits.status();
  EXPECT_EQ(limits->total, total);
  EXPECT_EQ(limits->per_address, per_address);
}

TEST(DescriptorLimitTest, LeavesDescriptorsForEverythingElse) {
  ExpectLimits(LimitsFor(1024, 0, 0), 640, 320);
  ExpectLimits(LimitsFor(20'000, 0, 0), 4'096, 2'048);
  ExpectLimits(LimitsFor(4'200, 0, 0), 3'675, 1'837);
  ExpectLimits(LimitsFor(256, 0, 0), 128, 64);
  ExpectLimits(LimitsFor(1, 0, 0), 1, 1);
}

TEST(DescriptorLimitTest, TakesWhatIsAskedForIfItFits) {
  ExpectLimits(LimitsFor(1024, 640, 640), 640, 640);
  ExpectLimits(LimitsFor(1024, 1, 0), 1, 1);
  ExpectLimits(LimitsFor(1024, 10, 20), 10, 10);
  testing::ExpectRefusal(LimitsFor(1024, 641, 0).status(),
                         {"max-connections is 641", "1 to 640", "1024"});
}

}  // namespace
}  // namespace fmaserver::net
