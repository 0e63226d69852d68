#include "server/engine/lost_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
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

bool Overlap(std::span<const std::byte> bytes, const std::byte* page) {
  return page + PageBytes() > bytes.data() && page < bytes.data() + bytes.size();
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

LostPages::LostPages(std::span<std::byte> mapping) : mapping_(mapping) {
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
  const auto offset = static_cast<size_t>(address - mapping_.data()) / PageBytes() * PageBytes();
  std::byte* const page = mapping_.data() + offset;
  // Remembered first, so that nobody takes zeros for what was written.
  ++count_;
  for (std::atomic<const std::byte*>& entry : pages_) {
    const std::byte* none = nullptr;
    if (entry.compare_exchange_strong(none, page)) break;
  }
  return mmap(page, PageBytes(), PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS,
              -1, 0) != MAP_FAILED;
}

bool LostPages::Any(std::span<const std::byte> bytes) const {
  if (count_ == 0) return false;
  if (std::ranges::none_of(pages_, [](const auto& page) { return page == nullptr; })) return true;
  return std::ranges::any_of(pages_, [bytes](const auto& entry) {
    const std::byte* page = entry;
    return page != nullptr && Overlap(bytes, page);
  });
}

void LostPages::Forget(std::span<const std::byte> bytes) {
  for (std::atomic<const std::byte*>& entry : pages_) {
    const std::byte* page = entry;
    if (page != nullptr && Overlap(bytes, page)) entry.compare_exchange_strong(page, nullptr);
  }
}

}  // namespace fmaserver::engine
