// What this process may use of the machine: fewer cores and less memory than it has, where an
// affinity mask or a container says so.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace fmaserver {

struct MachineShare {
  int cores = 1;                             ///< >= 1; a quota of 1.5 cores counts as 1
  std::optional<int64_t> memory_bytes = {};  ///< the limit of the control group; absent: none
};

/// Cores: the smallest of the affinity mask and the CPU quotas of the control groups (version 1 or
/// 2) that this process is in, up to the root. Memory: the smallest of their limits. Control groups
/// that cannot be read limit nothing. `root` is where /proc and /sys are; tests lay out their own.
MachineShare ReadMachineShare(const std::filesystem::path& root = "/");

}  // namespace fmaserver
