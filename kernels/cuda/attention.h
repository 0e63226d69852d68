// The multilevel attention on the device: append to the cache, attend, close the completed groups.
//
// A step's segments are sorted once, on the host, into a plan. Segments of one row are decoded, one
// launch for all of them; longer ones are slices of prompts. The plan's lists go to the device with
// the step's data (DevicePlan), and every layer is then LaunchAttention with the same plan.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "kernels/cuda/attention_data.h"
#include "kernels/cuda/runtime.h"

namespace fmaserver::cuda {

/// The step's work, in host memory.
struct AttentionPlan {
  AttentionPlan(const AttentionSpec& spec, const SlotLayout& layout,
                std::span<const Segment> segments);

  std::vector<DecodeRow> decode;
};

/// The same in device memory. `decode_rows` may exceed the plan's: what follows is zeros.
struct DevicePlan {
  const DecodeRow* decode = nullptr;
  int64_t decode_rows = 0;

  bool operator==(const DevicePlan&) const = default;
};

/// See Backend::Attend. qkv [n, QkvColumns()] and out [n, H*d] in device memory.
absl::Status LaunchAttention(Stream& stream, const DeviceAttention& attention,
                             const SlotLayout& layout, const DevicePlan& plan, int32_t layer,
                             const Matrix& qkv, const Matrix& out);

}  // namespace fmaserver::cuda
