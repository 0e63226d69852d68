#include "base/machine.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>

namespace fmaserver {
namespace {

namespace fs = std::filesystem;

/// Version 1 says "no limit" with the largest number of whole pages.
constexpr int64_t kNoLimit = int64_t{1} << 60;

int CoresOfAffinity() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  // This fails where there are more processors than the mask has bits; then all of them count.
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) return std::max(1, CPU_COUNT(&mask));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

/// The first number of `file`; nothing for "max", for -1 and for a missing file.
std::optional<int64_t> FirstNumber(std::ifstream& file) {
  int64_t number = 0;
  if (!(file >> number) || number < 0) return std::nullopt;
  return number;
}

std::optional<int64_t> NumberIn(const fs::path& path) {
  std::ifstream file(path);
  return FirstNumber(file);
}

class GroupLimits {
 public:
  explicit GroupLimits(MachineShare& share) : share_(share) {}

  /// Reads the files of version 2.
  void TakeUnified(const fs::path& group) {
    std::ifstream cpu(group / "cpu.max");
    const std::optional<int64_t> quota = FirstNumber(cpu);
    TakeQuota(quota, FirstNumber(cpu));
    TakeMemory(NumberIn(group / "memory.max"));
  }

  /// Reads the files of version 1, those of the controller that `group` belongs to.
  void TakeController(const fs::path& group) {
    TakeQuota(NumberIn(group / "cpu.cfs_quota_us"), NumberIn(group / "cpu.cfs_period_us"));
    TakeMemory(NumberIn(group / "memory.limit_in_bytes"));
  }

 private:
  void TakeQuota(std::optional<int64_t> quota, std::optional<int64_t> period) {
    if (!quota || !period || !(*quota > 0 && *period > 0)) return;
    share_.cores = std::min<int>(
        share_.cores,
        static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(*quota / *period, 1 << 20))));
  }

  void TakeMemory(std::optional<int64_t> bytes) {
    if (!bytes || *bytes >= kNoLimit) return;
    share_.memory_bytes = std::min(share_.memory_bytes.value_or(*bytes), *bytes);
  }

  MachineShare& share_;
};

/// Calls `take` with `mount`/`group` and every folder above it up to `mount`. Inside a container
/// /proc may name a group of the host that is not mounted: then only `mount` is there.
template <typename Take>
void ForEachGroup(const fs::path& mount, std::string_view group, const Take& take) {
  fs::path path = fs::path(group).relative_path();
  for (; !path.empty(); path = path.parent_path()) take(mount / path);
  take(mount);
}

}  // namespace

MachineShare ReadMachineShare(const fs::path& root) {
  MachineShare share{.cores = CoresOfAffinity()};
  GroupLimits limits(share);
  std::ifstream groups(root / "proc/self/cgroup");
  // Lines are "hierarchy:controllers:path"; version 2's has no controllers (cgroups(7)).
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    const fs::path mounts = root / "sys/fs/cgroup";
    if (controllers.empty()) {
      ForEachGroup(mounts, group, [&](const fs::path& g) { limits.TakeUnified(g); });
    } else {
      ForEachGroup(mounts / controllers, group,
                   [&](const fs::path& g) { limits.TakeController(g); });
    }
  }
  return share;
}

}  // namespace fmaserver
