#include "kernels/cuda/transfer.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace fmaserver::kernels::cuda {

absl::StatusOr<Transfer> Transfer::Create(int64_t bytes) {
  auto pinned = Memory::Allocate(Memory::Kind::kPinned, bytes);
  if (!pinned.ok()) return pinned.status();
  Transfer transfer;
  transfer.pinned_ = *std::move(pinned);
  return transfer;
}

absl::Status Transfer::Out(Stream& stream, const std::byte* from, std::span<std::byte> out) const {
  while (!out.empty()) {
    const auto piece = out.first(std::min(out.size(), static_cast<size_t>(pinned_.bytes())));
    absl::Status status = stream.CopyToHost(pinned_.data(), from, std::ssize(piece));
    status.Update(stream.Synchronize());
    if (!status.ok()) return status;
    std::memcpy(piece.data(), pinned_.data(), piece.size());
    out = out.subspan(piece.size());
    from += piece.size();
  }
  return absl::OkStatus();
}

absl::Status Transfer::In(Stream& stream, std::span<const std::byte> in, std::byte* to) const {
  while (!in.empty()) {
    const auto piece = in.first(std::min(in.size(), static_cast<size_t>(pinned_.bytes())));
    std::memcpy(pinned_.data(), piece.data(), piece.size());
    absl::Status status = stream.CopyToDevice(to, pinned_.data(), std::ssize(piece));
    status.Update(stream.Synchronize());
    if (!status.ok()) return status;
    in = in.subspan(piece.size());
    to += piece.size();
  }
  return absl::OkStatus();
}

}  // namespace fmaserver::kernels::cuda
