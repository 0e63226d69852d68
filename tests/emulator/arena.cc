#include "tests/emulator/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "tests/emulator/fail.h"

namespace fmaserver::kernels::cuda::emulator {
namespace {

constexpr int64_t kSectorBytes = 32;
constexpr int64_t kGap = DeviceArena::kAlignment;  // between allocations
constexpr int kPoison = 0xFF;                      // NaN as any kind of float

template <typename T>
T* Reserve(int64_t count) {
  void* memory = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) Fail("no address space for device memory", nullptr);
  return static_cast<T*>(memory);
}

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

DeviceArena& DeviceArena::Instance() {
  static DeviceArena* arena = new DeviceArena();
  return *arena;
}

DeviceArena::DeviceArena()
    : data_(Reserve<std::byte>(kBytes)),
      cells_(Reserve<Cell>(kBytes / kCellBytes)),
      sector_loads_(Reserve<uint32_t>(kBytes / kSectorBytes)),
      sector_stores_(Reserve<uint32_t>(kBytes / kSectorBytes)) {}

std::byte* DeviceArena::Allocate(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  int64_t offset = kGap;
  for (const auto& [at, size] : live_) {
    if (at - kGap >= offset + bytes) break;
    offset = RoundUp(at + size, kAlignment) + kGap;
  }
  if (bytes > kBytes - kGap - offset) return nullptr;
  live_[offset] = bytes;
  used_ += bytes;
  std::memset(data_ + offset, kPoison, bytes);
  Cell fresh;
  fresh.exists = true;
  std::fill_n(cells_ + offset / kCellBytes, RoundUp(bytes, kCellBytes) / kCellBytes, fresh);
  return data_ + offset;
}

void DeviceArena::Free(std::byte* data) {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(OffsetOf(data));
  if (found == live_.end()) Fail("free of memory that was not allocated", nullptr);
  const auto [offset, bytes] = *found;
  std::memset(data, kPoison, bytes);
  std::fill_n(cells_ + offset / kCellBytes, RoundUp(bytes, kCellBytes) / kCellBytes, Cell());
  used_ -= bytes;
  live_.erase(found);
}

void DeviceArena::Map(std::span<std::byte> host) {
  const std::lock_guard lock(mutex_);
  auto next = mapped_.lower_bound(host.data());
  bool overlaps = next != mapped_.end() && next->first < host.data() + host.size();
  if (next != mapped_.begin()) {
    --next;
    overlaps = overlaps || next->first + next->second > host.data();
  }
  if (overlaps) Fail("host memory is mapped twice", nullptr);
  mapped_.emplace(host.data(), static_cast<int64_t>(host.size()));
}

void DeviceArena::Unmap(const std::byte* host) {
  const std::lock_guard lock(mutex_);
  if (mapped_.erase(host) == 0) Fail("end of a mapping that there is not", nullptr);
}

bool DeviceArena::IsMapped(const std::byte* address, int64_t bytes) {
  const std::lock_guard lock(mutex_);
  auto found = mapped_.upper_bound(address);
  if (found == mapped_.begin()) return false;
  --found;
  return address + bytes <= found->first + found->second;
}

void DeviceArena::Touch(const void* address, int64_t bytes, Access access, const Actor& actor,
                        const Phases& phases, Traffic& traffic, const Site& site) {
  if (reinterpret_cast<uintptr_t>(address) % std::min<int64_t>(bytes, 16) != 0 ||
      (bytes % kCellBytes != 0 && access != Access::kLoad)) {
    Fail(absl::StrCat("misaligned access of ", bytes, " bytes"), &site);
  }
  const int64_t offset = OffsetOf(address);
  if (offset < 0 || offset > kBytes - bytes) {
    if (access == Access::kAtomic || !IsMapped(static_cast<const std::byte*>(address), bytes)) {
      Fail("access outside of device memory", &site);
    }
    traffic.bus_bytes += bytes;
    return;
  }
  // A stamp of an earlier phase of the same block belongs to the same block's visit.
  const auto is_new = [&](uint32_t stamp) {
    return !phases.OfThisLaunch(stamp) || phases.BlockOf(stamp) != actor.block;
  };
  // The load of a byte counts for its cell.
  for (int64_t i = offset / kCellBytes; i <= (offset + bytes - 1) / kCellBytes; ++i) {
    Cell& cell = cells_[i];
    if (access != Access::kStore && is_new(cell.read_stamp)) traffic.loaded_bytes += kCellBytes;
    if (access != Access::kLoad && is_new(cell.write_stamp)) traffic.stored_bytes += kCellBytes;
    emulator::Touch(cell, access, actor, phases, "global", site);
  }
  for (int64_t s = offset / kSectorBytes; s <= (offset + bytes - 1) / kSectorBytes; ++s) {
    if (access != Access::kStore) {
      if (is_new(sector_loads_[s])) ++traffic.loaded_sectors;
      sector_loads_[s] = actor.stamp;
    }
    if (access != Access::kLoad) {
      if (is_new(sector_stores_[s])) ++traffic.stored_sectors;
      sector_stores_[s] = actor.stamp;
    }
  }
}

void DeviceArena::CheckRange(const void* address, int64_t bytes, const char* operation) {
  const std::lock_guard lock(mutex_);
  const int64_t offset = OffsetOf(address);
  auto found = live_.upper_bound(offset);
  if (found != live_.begin()) {
    --found;
    if (offset >= found->first && offset + bytes <= found->first + found->second) return;
  }
  Fail(absl::StrCat(operation, " of ", bytes, " bytes is not inside one allocation"), nullptr);
}

void DeviceArena::MarkWritten(void* address, int64_t bytes) {
  const int64_t first = OffsetOf(address) / kCellBytes;
  const int64_t end = RoundUp(OffsetOf(address) + bytes, kCellBytes) / kCellBytes;
  for (int64_t cell = first; cell < end; ++cell) cells_[cell].written = true;
}

void DeviceArena::CopyWritten(void* to, const void* from, int64_t bytes) {
  Cell* target = cells_ + OffsetOf(to) / kCellBytes;
  const Cell* source = cells_ + OffsetOf(from) / kCellBytes;
  for (int64_t i = 0; i < RoundUp(bytes, kCellBytes) / kCellBytes; ++i) {
    target[i].written = source[i].written;
  }
}

}  // namespace fmaserver::kernels::cuda::emulator
