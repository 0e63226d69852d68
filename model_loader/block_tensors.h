// Weights that are integers in blocks (docs/model.md, "Weights in blocks"): each has a tensor of
// codes under the weight's own name, one of scales and perhaps one of minima.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "model_loader/expected_tensors.h"
#include "model_loader/tensor.h"

namespace fmaserver::model {

using TensorMap = absl::flat_hash_map<std::string, TensorView>;

/// The shape of the numbers that a tensor holds: that of its elements, but of kInt4 an element has
/// two.
std::vector<int64_t> NumbersShape(const TensorView& tensor);

/// The names of the tensors that belong to `codes`, the weight that `expected` describes, after
/// checking all of them. INVALID_ARGUMENT with `origin`, the tensor, what was found and what is
/// allowed: a tensor that may not be in blocks, blocks that do not fit, scales or minima that are
/// missing, have another shape, or are not finite.
absl::StatusOr<std::vector<std::string>> CheckBlocks(const ExpectedTensor& expected,
                                                     const TensorView& codes,
                                                     const TensorMap& tensors,
                                                     std::string_view origin);

}  // namespace fmaserver::model
