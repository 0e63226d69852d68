// One step's operations as plain data: recorded as the model calls them, compared with those of
// earlier steps, then run. Equal operations do the same to what lies in memory, so a captured graph
// may be launched for every list of operations that equals its own.
#pragma once

#include <cstdint>
#include <variant>

#include "kernels/backend.h"
#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/dense/dense.h"
#include "kernels/cuda/encoder/encoder.h"
#include "kernels/cuda/sampling/sampling.h"

namespace fmaserver::kernels::cuda {

struct EmbedOperation {
  const int64_t* ids = nullptr;  // [x.rows] in device memory
  DeviceWeight table;
  bool accumulate = false;
  Matrix x;
  bool operator==(const EmbedOperation&) const = default;
};

struct NormOperation {
  Matrix x;
  DeviceNormWeight weights;
  Matrix out;
  bool operator==(const NormOperation&) const = default;
};

struct AttendOperation {
  DeviceAttention attention;
  SlotLayout layout;
  DevicePlan plan;
  int32_t layer = 0;
  Matrix qkv;
  Matrix out;
  bool clears = false;  ///< there may be rows without a segment, whose output becomes 0
  bool operator==(const AttendOperation&) const = default;
};

struct CopyOperation {
  Matrix from;
  float* to = nullptr;
  bool operator==(const CopyOperation&) const = default;
};

struct ActivateOperation {
  MlpKind kind = MlpKind::kGelu;
  Matrix in;
  Matrix out;
  bool operator==(const ActivateOperation&) const = default;
};

struct GatherOperation {
  Matrix x;
  const int32_t* rows = nullptr;  // [out.rows] in device memory
  Matrix out;
  bool operator==(const GatherOperation&) const = default;
};

using Operation =
    std::variant<EmbedOperation, NormOperation, LinearOperation, AttendOperation, EncoderOperation,
                 CopyOperation, ActivateOperation, GatherOperation, SampleOperation>;

}  // namespace fmaserver::kernels::cuda
