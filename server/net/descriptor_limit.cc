#include "server/net/descriptor_limit.h"

#include <sys/resource.h>

#include <algorithm>
#include <climits>

#include "absl/strings/str_cat.h"
#include "base/refusal.h"

namespace fmaserver::net {
namespace {

/// What is not for connections: 256 for the HTTP port, some for gRPC itself, the rest for files.
int Reserve(int descriptors) {
  constexpr int kLeast = 384;
  return std::min(std::max(kLeast, descriptors / 8), descriptors / 2);
}

}  // namespace

void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);  // else it stays as it is
}

int DescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  return static_cast<int>(std::min<rlim_t>(limit.rlim_cur, INT_MAX));
}

absl::StatusOr<ConnectionLimits> LimitsFor(int descriptors, int total, int per_address) {
  constexpr int kPlenty = 4096;  // of some 90 KiB each with TLS
  const int most = std::max(1, descriptors - Reserve(descriptors));
  if (total > most) {
    return Refusal("max-connections", total,
                   absl::StrCat(FromTo(1, most), ", as the limit of open files (ulimit -Hn) is ",
                                descriptors));
  }
  if (total == 0) total = std::min(most, kPlenty);
  if (per_address == 0) per_address = std::max(1, total / 2);
  return ConnectionLimits{.total = total, .per_address = std::min(per_address, total)};
}

}  // namespace fmaserver::net
