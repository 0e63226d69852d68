// Archives of noise, for measurements that do not read a text first.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/huge_pages.h"
#include "kernels/fma/element.h"

namespace fmaserver::bench {

/// The archive of one sequence: tokens of small numbers, and sketches as they could be.
class NoiseArchive {
 public:
  /// The backend outlives the archive.
  NoiseArchive(kernels::Backend& backend, const kernels::ArchiveLayout& layout)
      : backend_(&backend), layout_(layout) {}

  /// The groups of a sequence of `tokens` tokens.
  absl::StatusOr<std::span<kernels::ArchiveGroup* const>> Reach(int64_t tokens) {
    const int64_t count = layout_.Groups(tokens);
    while (std::ssize(groups_) < count) {
      absl::Status status = AddGroup();
      if (!status.ok()) return status;
    }
    return std::span(groups_).first(static_cast<size_t>(count));
  }

 private:
  absl::Status AddGroup() {
    // As a server has them.
    tokens_.push_back(kernels::TryAllocateInHugePages(layout_.TokenBytes()));
    if (tokens_.back() == nullptr) return absl::ResourceExhaustedError("no memory for tokens");
    const std::span tokens(tokens_.back().get(), static_cast<size_t>(layout_.TokenBytes()));
    std::ranges::copy(Noise(layout_.TokenBytes()), tokens.data());
    auto group = backend_->MakeGroup(layout_, tokens);
    if (!group.ok()) return group.status();
    groups_.push_back(group->get());
    owned_.push_back(*std::move(group));
    return backend_->RestoreSketches(Sketches(layout_), *groups_.back());
  }

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

  std::vector<std::byte> Sketches(const kernels::ArchiveLayout& layout) {
    return layout.sketch_type == kernels::CacheType::kF32 ? Sketches<float>(layout)
                                                          : Sketches<kernels::BFloat16>(layout);
  }

  /// Means from -1/2 to 1/2, deviations from 1/2 to 3/2, factors from 0.9 to 1.3, and any codes.
  template <typename T>
  std::vector<std::byte> Sketches(const kernels::ArchiveLayout& layout) {
    const kernels::SketchLayout sketch = layout.Sketch();
    std::vector<std::byte> noise(static_cast<size_t>(layout.SketchBytes()));
    for (std::byte& byte : noise) byte = static_cast<std::byte>(256 * Uniform());
    for (size_t at = 0; at < noise.size(); at += static_cast<size_t>(sketch.bytes)) {
      auto* means = reinterpret_cast<T*>(&noise[at]);
      auto* deviations = means + layout.head_dim;
      auto* factors = deviations + layout.head_dim;
      for (int32_t c = 0; c < layout.head_dim; ++c) {
        means[c] = kernels::FromFloat<T>(Uniform() - 0.5F);
        deviations[c] = kernels::FromFloat<T>(Uniform() + 0.5F);
      }
      for (int32_t i = 0; i < layout.unit_tokens; ++i) {
        factors[i] = kernels::FromFloat<T>(0.9F + 0.4F * Uniform());
      }
    }
    return noise;
  }

  /// From 0 to below 1.
  float Uniform() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<float>(state_ >> 40) * 0x1p-24F;
  }

  kernels::Backend* backend_;
  kernels::ArchiveLayout layout_;
  std::vector<kernels::BlockPart> tokens_;
  std::vector<std::unique_ptr<kernels::ArchiveGroup>> owned_;
  std::vector<kernels::ArchiveGroup*> groups_;
  uint64_t state_ = 1;
};

}  // namespace fmaserver::bench
