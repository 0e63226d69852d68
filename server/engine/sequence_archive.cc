#include "server/engine/sequence_archive.h"

#include <utility>

namespace fmaserver::engine {

void SequenceArchive::Add(ArchiveChunkPtr chunk) {
  groups_.push_back(chunk->group());
  chunks_.push_back(std::move(chunk));
}

void SequenceArchive::Start(Archive archive) {
  if (!opens()) return;
  chunks_.clear();
  groups_.clear();
  for (ArchiveChunkPtr& chunk : archive) Add(std::move(chunk));
}

SequenceArchive SequenceArchive::Fork(int64_t tokens) const {
  if (!opens()) return {};
  SequenceArchive fork(layout_, reserve_);
  fork.Start(At(tokens));
  return fork;
}

absl::StatusOr<std::span<kernels::ArchiveGroup* const>> SequenceArchive::GroupsFor(int64_t tokens) {
  if (!opens()) return std::span<kernels::ArchiveGroup* const>();
  const int64_t needed = layout_.Groups(tokens);
  while (std::ssize(chunks_) < needed) {
    ArchiveChunkPtr chunk = reserve_->Take(std::ssize(chunks_) * layout_.hierarchy.group_size);
    if (chunk == nullptr) return absl::InternalError("the archive's reserve was too small");
    Add(std::move(chunk));
  }
  return std::span(groups_).first(static_cast<size_t>(needed));
}

Archive SequenceArchive::At(int64_t tokens) const {
  if (!opens()) return {};
  return {chunks_.begin(), chunks_.begin() + layout_.Groups(tokens)};
}

}  // namespace fmaserver::engine
