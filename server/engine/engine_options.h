// How much an engine takes on at once.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "kernels/fma/cache_type.h"
#include "server/engine/archive_pool.h"

namespace fmaserver::engine {

struct EngineOptions {
  int32_t num_slots = 64;     ///< sequences that run at once
  int32_t max_queue = 256;    ///< requests that may wait for a slot
  int32_t step_tokens = 256;  ///< prompt tokens of one step, all requests together
  int64_t prefix_cache_bytes = int64_t{512} << 20;  ///< for states of prompts; 0: no state is kept
  double max_stall_seconds = 60;  ///< how long a reader may be behind before its request ends
  ArchiveOptions archive = {};    ///< of a model that opens units
  std::optional<kernels::CacheType> parked_type = {};  ///< of sessions' states; absent: as slots
  int64_t encoder_bytes = int64_t{1} << 30;  ///< of an encoder: for the texts that are being read
};

/// INVALID_ARGUMENT names what is out of range.
absl::Status Validate(const EngineOptions& options);

}  // namespace fmaserver::engine
