#include "base/machine.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace fmaserver::testing {
namespace {

namespace fs = std::filesystem;

class MachineTest : public ::testing::Test {
 protected:
  MachineTest() : root_(fs::path(::testing::TempDir()) / "machine") { fs::remove_all(root_); }
  ~MachineTest() override { fs::remove_all(root_); }

  void Write(const std::string& file, const std::string& text) {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text << "\n";
  }
  MachineShare Share() const { return ReadMachineShare(root_); }

  const fs::path root_;
  const int all_ = ReadMachineShare("/nothing/there").cores;
};

TEST_F(MachineTest, WithoutControlGroupsTheAffinityMaskCounts) {
  EXPECT_GE(all_, 1);
  EXPECT_FALSE(Share().memory_bytes);
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int core = 0; core < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++core) {
    if (CPU_ISSET(core, &before)) CPU_SET(core, &one);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(Share().cores, 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST_F(MachineTest, TheTightestGroupOfVersion2Counts) {
  Write("proc/self/cgroup", "0::/pods/this");
  Write("sys/fs/cgroup/pods/this/cpu.max", "max 100000");
  Write("sys/fs/cgroup/pods/cpu.max", "150000 100000");
  Write("sys/fs/cgroup/pods/this/memory.max", "2147483648");
  Write("sys/fs/cgroup/pods/memory.max", "4294967296");
  EXPECT_EQ(Share().cores, 1);
  EXPECT_EQ(Share().memory_bytes, int64_t{2} << 30);
}

TEST_F(MachineTest, LessThanOneCoreIsOne) {
  Write("proc/self/cgroup", "0::/");
  Write("sys/fs/cgroup/cpu.max", "5000 100000");
  EXPECT_EQ(Share().cores, 1);
}

TEST_F(MachineTest, NoLimitAndAQuotaAboveTheMachineLimitNothing) {
  Write("proc/self/cgroup", "0::/");
  Write("sys/fs/cgroup/cpu.max", "100000000000 100000");
  Write("sys/fs/cgroup/memory.max", "max");
  EXPECT_EQ(Share().cores, all_);
  EXPECT_FALSE(Share().memory_bytes);
}

TEST_F(MachineTest, Version1HasAFolderForEachController) {
  Write("proc/self/cgroup", "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/");
  Write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000");
  Write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000");
  Write("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "1073741824");
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQ(Share().cores, 1);
  EXPECT_EQ(Share().memory_bytes, int64_t{1} << 30);
}

TEST_F(MachineTest, UnreadableFilesLimitNothing) {
  Write("proc/self/cgroup", "nonsense\n0::/a");
  Write("sys/fs/cgroup/a/cpu.max", "lots");
  Write("sys/fs/cgroup/a/memory.max", "-5");
  EXPECT_EQ(Share().cores, all_);
  EXPECT_FALSE(Share().memory_bytes);
}

}  // namespace
}  // namespace fmaserver::testing
