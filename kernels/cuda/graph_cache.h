// Graphs of steps that are repeated: a whole decode step is one launch.
#pragma once

#include <list>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "kernels/cuda/executor.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/runtime/runtime.h"

namespace fmaserver::kernels::cuda {

/// The key of a graph is everything that was captured into it: the operations themselves.
class GraphCache {
 public:
  /// Enqueues `operations`: directly the first time, which also loads kernels and libraries;
  /// captured the second time; as a graph from then on.
  absl::Status Run(Stream& stream, Executor& executor, const std::vector<Operation>& operations);

  /// Forgets all graphs; none may be running.
  void Clear() { entries_.clear(); }

 private:
  struct Entry {
    std::vector<Operation> operations;
    std::optional<Graph> graph;
  };

  Entry* Find(const std::vector<Operation>& operations);

  std::list<Entry> entries_;  // most recently used first
};

}  // namespace fmaserver::kernels::cuda
