// What the models take of the memory that the server may use, compared before it is taken.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace fmaserver {

/// Bytes of one model in the host's memory.
struct ModelMemory {
  int64_t weights = 0;
  int64_t slots = 0;
  int64_t step = 0;      ///< activations
  int64_t prefixes = 0;  ///< --prefix-cache-memory, at most
  int64_t sessions = 0;  ///< --session-memory, at most
  int64_t archives = 0;  ///< of --archive-bytes, what is not on a disk, at most

  /// What it cannot do without.
  int64_t Needed() const { return weights + slots + step; }
  int64_t Most() const { return Needed() + prefixes + sessions + archives; }
};

/// Thread-safe.
class MemoryBudget {
 public:
  /// `limit` of this process (absent: none), of which requests take `requests`, at most.
  MemoryBudget(std::optional<int64_t> limit, int64_t requests)
      : limit_(limit), requests_(requests) {}

  /// Room for a model beside those that have some, until the last copy of the result is gone. What
  /// it needs must fit: RESOURCE_EXHAUSTED gives the numbers.
  absl::StatusOr<std::shared_ptr<const void>> Reserve(const std::string& model,
                                                      const ModelMemory& memory);

  /// The numbers, when all models and requests at their most would not fit; else empty.
  std::string Excess() const;

 private:
  const std::optional<int64_t> limit_;
  const int64_t requests_;
  mutable std::mutex mutex_;
  ModelMemory taken_;  // guarded by mutex_; the sum over the models
};

}  // namespace fmaserver
