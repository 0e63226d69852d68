#include "server/engine/lost_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <mutex>

namespace fmaserver::engine {
namespace {

std::array<std::atomic<LostPages*>, 64> watched = {};

size_t PageBytes() {
  static const auto bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

}  // namespace

/// Calls only what may be called in a signal handler: mmap is a system call, atomics are lock-free.
struct SigbusHandler {
  static void Install() {
    PageBytes();  // known before a signal needs it
    struct sigaction action = {};
    action.sa_sigaction = &Handle;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &action, &before);
  }

  static void Handle(int /*signal*/, siginfo_t* info, void* /*context*/) {
    const int error = errno;
    auto* address = static_cast<std::byte*>(info->si_addr);
    const bool taken = std::ranges::any_of(watched, [address](const auto& entry) {
      LostPages* pages = entry.load();
      return pages != nullptr && pages->Take(address);
    });
    // The instruction is tried again, and fails again if the page was not ours.
    if (!taken) sigaction(SIGBUS, &before, nullptr);
    errno = error;
  }

  static inline struct sigaction before = {};
};

LostPages::LostPages(std::span<std::byte> mapping, int64_t block_bytes)
    : mapping_(mapping),
      block_bytes_(block_bytes),
      lost_(std::make_unique<std::atomic<bool>[]>(mapping.size() /
                                                  static_cast<size_t>(block_bytes))) {
  static std::once_flag installed;
  std::call_once(installed, SigbusHandler::Install);
  for (std::atomic<LostPages*>& entry : watched) {
    LostPages* none = nullptr;
    if (entry.compare_exchange_strong(none, this)) return;
  }
}

LostPages::~LostPages() {
  for (std::atomic<LostPages*>& entry : watched) {
    LostPages* self = this;
    entry.compare_exchange_strong(self, nullptr);
  }
}

bool LostPages::Take(std::byte* address) {
  if (address < mapping_.data() || address >= mapping_.data() + mapping_.size()) return false;
  const auto offset = static_cast<size_t>(address - mapping_.data());
  // Remembered first, so that nobody takes zeros for what was written.
  lost_[offset / static_cast<size_t>(block_bytes_)] = true;
  ++count_;
  return mmap(mapping_.data() + offset / PageBytes() * PageBytes(), PageBytes(),
              PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}

}  // namespace fmaserver::engine
