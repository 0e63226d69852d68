// Archives of noise, for measurements that do not read a text first.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/plain_archive.h"

namespace fmaserver::bench {

/// The archive of one sequence: small numbers, and codes of all kinds.
class NoiseArchive {
 public:
  /// The backend outlives the archive.
  NoiseArchive(kernels::Backend& backend, const kernels::ArchiveLayout& layout)
      : backend_(&backend), archive_(backend, layout) {}

  /// The groups of a sequence of `tokens` tokens.
  absl::StatusOr<std::span<kernels::ArchiveGroup* const>> Reach(int64_t tokens) {
    const auto groups = archive_.Reach(tokens);
    if (!groups.ok()) return groups.status();
    for (; filled_ < groups->size(); ++filled_) {
      kernels::ArchiveGroup& group = *(*groups)[filled_];
      const std::vector<std::byte> noise = Noise(archive_.layout().TokenBytes());
      std::ranges::copy(noise, group.tokens);
      absl::Status status =
          backend_->RestoreSketches(Noise(archive_.layout().SketchBytes()), group);
      if (!status.ok()) return status;
    }
    return groups;
  }

 private:
  /// Numbers of about 1/64 in either type, of both signs.
  std::vector<std::byte> Noise(int64_t bytes) {
    std::vector<std::byte> noise(static_cast<size_t>(bytes));
    for (size_t i = 0; i + 1 < noise.size(); i += 2) {
      state_ = state_ * 6364136223846793005U + 1442695040888963407U;
      noise[i] = static_cast<std::byte>(state_ >> 40);
      noise[i + 1] = static_cast<std::byte>(0x3CU | (state_ >> 56 & 0x80U));
    }
    return noise;
  }

  kernels::Backend* backend_;
  kernels::PlainArchive archive_;
  size_t filled_ = 0;  // groups
  uint64_t state_ = 1;
};

}  // namespace fmaserver::bench
