#include "kernels/cpu/read_ahead.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace fmaserver::kernels::cpu {

bool ReadAhead::Pays() {
  rusage usage;
  if (getrusage(RUSAGE_THREAD, &usage) != 0) return false;
  // Pages that were asked for cause no major fault, so some time has to pass without any.
  const bool waited = std::exchange(faults_, usage.ru_majflt) != usage.ru_majflt;
  left_ = waited ? kLately : std::max(0, left_ - 1);
  return left_ > 0;
}

void ReadAhead::Ask(std::span<const std::byte> bytes) {
  static const auto kPage = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t before = reinterpret_cast<uintptr_t>(bytes.data()) % kPage;
  auto* const page = const_cast<std::byte*>(bytes.data()) - before;  // nothing is written
  // It is advice: what the system does not follow is read when it is needed.
  static_cast<void>(madvise(page, bytes.size() + before, MADV_WILLNEED));
}

}  // namespace fmaserver::kernels::cpu
