// How the bytes of a cache slot are used.
#pragma once

#include <cstdint>

#include "kernels/fma/slot_layout.h"

namespace fmaserver::metrics {

/// The bytes of one slot by use; their sum is layout.slot_bytes.
struct StateBytes {
  int64_t near_field = 0;  ///< tokens kept exactly: the ring of the last two fine groups
  int64_t sinks = 0;       ///< first tokens that stay exact for ever
  int64_t far = 0;         ///< summaries or selected tokens of all levels
  int64_t sums = 0;        ///< running sums of the groups being filled, or what chooses tokens
  int64_t padding = 0;     ///< alignment
};

StateBytes StateBytesOf(const kernels::SlotLayout& layout);

}  // namespace fmaserver::metrics
