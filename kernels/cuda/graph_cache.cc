#include "kernels/cuda/graph_cache.h"

#include <algorithm>
#include <utility>

namespace fmaserver::kernels::cuda {
namespace {

/// More than there are batch-size buckets.
constexpr size_t kMaxEntries = 64;

absl::StatusOr<Graph> Capture(Stream& stream, Executor& executor,
                              const std::vector<Operation>& operations) {
  if (absl::Status status = stream.BeginCapture(); !status.ok()) return status;
  const absl::Status recorded = executor.Run(stream, operations);
  absl::StatusOr<Graph> graph = stream.EndCapture();  // even when recording failed
  if (!recorded.ok()) return recorded;
  return graph;
}

}  // namespace

GraphCache::Entry* GraphCache::Find(const std::vector<Operation>& operations) {
  const auto found = std::ranges::find_if(
      entries_, [&](const Entry& entry) { return entry.operations == operations; });
  if (found == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found);
  return &entries_.front();
}

absl::Status GraphCache::Run(Stream& stream, Executor& executor,
                             const std::vector<Operation>& operations) {
  Entry* entry = Find(operations);
  if (entry == nullptr) {
    if (absl::Status status = executor.Run(stream, operations); !status.ok()) return status;
    entries_.push_front({operations, std::nullopt});
    // A running graph keeps what it needs; CUDA frees it when the graph is done.
    if (entries_.size() > kMaxEntries) entries_.pop_back();
    return absl::OkStatus();
  }
  if (!entry->graph.has_value()) {
    absl::StatusOr<Graph> graph = Capture(stream, executor, operations);
    if (!graph.ok()) return graph.status();
    entry->graph = *std::move(graph);
  }
  return stream.Launch(*entry->graph);
}

}  // namespace fmaserver::kernels::cuda
