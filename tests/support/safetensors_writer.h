// Writes safetensors images, valid or damaged on purpose, for tests.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/fma/weight_format.h"

namespace fmaserver::testing {

struct StoredTensor {
  std::string name;
  kernels::WeightFormat dtype = kernels::WeightFormat::kF32;
  std::vector<int64_t> shape;
  std::string bytes;
};

/// The 8-byte length, `header` as it is, then `data`.
std::string SafetensorsImage(std::string_view header, std::string_view data);

/// A valid image of `tensors` in this order.
std::string SafetensorsImage(const std::vector<StoredTensor>& tensors);

/// Appends `value` to `bytes` in the memory format of `dtype`, which is not of integers. Halves
/// below their normal range become 0; the value must not be above it.
void AppendElement(float value, kernels::WeightFormat dtype, std::string& bytes);

}  // namespace fmaserver::testing
