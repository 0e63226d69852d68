// The archive of one running sequence.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/fma/archive_layout.h"
#include "server/engine/archive.h"
#include "server/engine/archive_pool.h"

namespace fmaserver::engine {

/// The groups that are written, shared with states, and behind them blank ones for the next step.
class SequenceArchive {
 public:
  /// Opens no units: the sequence is served in constant memory.
  SequenceArchive() = default;

  /// Opens units, and takes its groups from `reserve`, which the samples of a request share.
  SequenceArchive(const kernels::ArchiveLayout& layout, std::shared_ptr<ArchiveReserve> reserve)
      : layout_(layout), reserve_(std::move(reserve)) {}

  bool opens() const { return reserve_ != nullptr; }

  /// Goes on from the archive of a state of this engine.
  void Start(Archive archive);

  /// What another sample begins with that goes on after `tokens` tokens.
  SequenceArchive Fork(int64_t tokens) const;

  /// The groups of a step that ends after `tokens` tokens (kernels::Segment::archive), until the
  /// next call. INTERNAL when the reserve was too small.
  absl::StatusOr<std::span<kernels::ArchiveGroup* const>> GroupsFor(int64_t tokens);

  /// The archive of the state after `tokens` tokens, which the sequence has now.
  Archive At(int64_t tokens) const;

  /// UNAVAILABLE when the disk has lost a part of it.
  absl::Status Check() const {
    return opens() ? reserve_->pool().CheckNoneLost(chunks_) : absl::OkStatus();
  }

  /// How many tokens it holds then.
  int64_t TokensAt(int64_t tokens) const {
    return opens() ? layout_.Groups(tokens) * layout_.hierarchy.group_size : 0;
  }

  /// Only if it opens units.
  ArchiveReserve* reserve() const { return reserve_.get(); }
  const kernels::ArchiveLayout& layout() const { return layout_; }

 private:
  void Add(ArchiveChunkPtr chunk);

  kernels::ArchiveLayout layout_;
  std::shared_ptr<ArchiveReserve> reserve_;
  Archive chunks_;
  std::vector<kernels::ArchiveGroup*> groups_;  // of chunks_
};

}  // namespace fmaserver::engine
