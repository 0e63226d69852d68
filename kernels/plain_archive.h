// An archive in plain memory, for whoever needs neither a budget nor sharing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace fmaserver::kernels {

/// The archive of one sequence, whose groups are made as it grows. Movable.
class PlainArchive {
 public:
  /// The backend outlives the archive.
  PlainArchive(Backend& backend, const ArchiveLayout& layout)
      : backend_(&backend), layout_(layout) {}

  const ArchiveLayout& layout() const { return layout_; }

  /// The groups of a sequence of `tokens` tokens (Segment::archive), which stay where they are;
  /// what was not there before is blank. MakeGroup's errors.
  absl::StatusOr<std::span<ArchiveGroup* const>> Reach(int64_t tokens) {
    const int64_t count = layout_.Groups(tokens);
    while (std::ssize(groups_) < count) {
      tokens_.emplace_back(static_cast<size_t>(layout_.TokenBytes()));
      auto group = backend_->MakeGroup(layout_, tokens_.back());
      if (!group.ok()) return group.status();
      groups_.push_back(group->get());
      owned_.push_back(*std::move(group));
    }
    return std::span(groups_).first(static_cast<size_t>(count));
  }

 private:
  Backend* backend_;
  ArchiveLayout layout_;
  std::vector<std::vector<std::byte>> tokens_;
  std::vector<std::unique_ptr<ArchiveGroup>> owned_;
  std::vector<ArchiveGroup*> groups_;
};

}  // namespace fmaserver::kernels
