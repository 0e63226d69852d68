// The attention of encoders on the device: a few launches for each level, whatever the sequences.
#pragma once

#include "absl/status/status.h"
#include "kernels/cuda/encoder/encoder_data.h"
#include "kernels/cuda/runtime/runtime.h"
#include "kernels/host/encoder_phases.h"

namespace fmaserver::kernels::cuda {

/// Tasks of a step of the attention; equal operations do the same to what lies in memory.
struct EncoderOperation {
  EncoderParameters parameters;
  EncoderStep step = EncoderStep::kNorms;
  bool operator==(const EncoderOperation&) const = default;
};

/// Tasks of a layer's attention over the sequences of `plan`, whose numbers are at `numbers` in
/// device memory, as an operation. `tasks` are not EncoderStep::kAngles, which are not kept.
EncoderOperation MakeEncoderOperation(const DeviceAttention& attention, const EncoderPlan& plan,
                                      const int64_t* numbers, const BothWays& work,
                                      const EncoderTasks& tasks);

absl::Status LaunchEncoder(Stream& stream, const EncoderOperation& operation);

}  // namespace fmaserver::kernels::cuda
