#include "kernels/cuda/archive_group.h"

#include <atomic>
#include <cstdint>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

namespace fmaserver::kernels::cuda {
namespace {

constexpr uintptr_t kTokensAlignment = 16;  // what kernels load at once
constexpr int64_t kCopyBytes = int64_t{1} << 20;

std::byte* SketchesOnDevice(const ArchiveGroup& group) {
  return static_cast<const DeviceArchiveGroup&>(group).view().sketches;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceArchiveGroup>> DeviceArchiveGroup::Make(
    int device, const ArchiveLayout& layout, std::span<std::byte> host) {
  if (absl::Status status = UseDevice(device); !status.ok()) return status;
  if (reinterpret_cast<uintptr_t>(host.data()) % kTokensAlignment != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the tokens of an archive's group do not begin at a multiple of ", kTokensAlignment));
  }
  auto mapped = MappedMemory::Map(host);
  if (!mapped.ok()) return mapped.status();
  auto sketches = Memory::Allocate(Memory::Kind::kDevice, layout.SketchBytes());
  if (!sketches.ok()) return sketches.status();
  auto group =
      absl::WrapUnique(new DeviceArchiveGroup(device, *std::move(mapped), *std::move(sketches)));
  group->tokens = host.data();
  return group;
}

void DeviceArchiveGroup::Renew() {
  static std::atomic<uint64_t> last = 0;
  identity_ = ++last;
}

DeviceArchiveGroup::~DeviceArchiveGroup() {
  // Threads that never used the device may free it; what fails here would fail in every step too.
  UseDevice(device_).IgnoreError();
}

absl::StatusOr<std::unique_ptr<SketchCopier>> SketchCopier::Create(int device) {
  auto stream = Stream::Create();
  if (!stream.ok()) return stream.status();
  auto transfer = Transfer::Create(kCopyBytes);
  if (!transfer.ok()) return transfer.status();
  return absl::WrapUnique(new SketchCopier(device, *std::move(stream), *std::move(transfer)));
}

absl::Status SketchCopier::Save(const ArchiveGroup& group, std::span<std::byte> out) {
  const std::lock_guard lock(mutex_);
  if (absl::Status status = UseDevice(device_); !status.ok()) return status;
  return transfer_.Out(*stream_, SketchesOnDevice(group), out);
}

absl::Status SketchCopier::Restore(std::span<const std::byte> in, ArchiveGroup& group) {
  const std::lock_guard lock(mutex_);
  if (absl::Status status = UseDevice(device_); !status.ok()) return status;
  static_cast<DeviceArchiveGroup&>(group).Renew();
  return transfer_.In(*stream_, in, SketchesOnDevice(group));
}

}  // namespace fmaserver::kernels::cuda
