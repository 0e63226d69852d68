// The weights of one attention layer besides its products, in device memory.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/runtime/runtime.h"

namespace fmaserver::kernels::cuda {

class PackedAttention : public AttentionWeights {
 public:
  /// Uploads and waits. RESOURCE_EXHAUSTED; INVALID_ARGUMENT for selected tokens with more than
  /// kMaxSelectedEntries keys in view, and for units that are too many or too large to open.
  static absl::StatusOr<std::unique_ptr<PackedAttention>> Pack(const AttentionSpec& spec,
                                                               const HostAttention& weights,
                                                               Stream& stream);

  DeviceAttention view;

 private:
  Memory downsampling_;
  Memory far_bias_;
  Memory frequencies_;
  Memory query_norm_;
  Memory key_norm_;
};

}  // namespace fmaserver::kernels::cuda
