// Archives of noise, for measurements that do not read a text first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"

namespace fmaserver::bench {

/// The archive of one sequence: small numbers, and codes of all kinds.
class NoiseArchive {
 public:
  absl::Status Reach(kernels::Backend& backend, const kernels::ArchiveLayout& layout,
                     int64_t tokens) {
    while (std::ssize(groups_) < layout.Groups(tokens)) {
      tokens_.push_back(Noise(layout.TokenBytes()));
      auto group = backend.MakeGroup(layout, tokens_.back());
      if (!group.ok()) return group.status();
      if (absl::Status status = backend.RestoreSketches(Noise(layout.SketchBytes()), **group);
          !status.ok()) {
        return status;
      }
      groups_.push_back(group->get());
      owned_.push_back(*std::move(group));
    }
    return absl::OkStatus();
  }

  std::span<kernels::ArchiveGroup* const> groups() const { return groups_; }

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

  uint64_t state_ = 1;
  std::vector<std::vector<std::byte>> tokens_;
  std::vector<std::unique_ptr<kernels::ArchiveGroup>> owned_;
  std::vector<kernels::ArchiveGroup*> groups_;
};

}  // namespace fmaserver::bench
