#include "model_loader/block_tensors.h"

#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "base/refusal.h"
#include "base/text.h"
#include "model_loader/tensor_names.h"

namespace fmaserver::model {
namespace {

using kernels::WeightFormat;

constexpr std::string_view kPlainFormats = "F32, F16, BF16";

/// The place of the first float16 that is infinite or NaN, or their number.
int64_t FirstNotFinite(const TensorView& halves) {
  constexpr uint16_t kExponent = 0x7C00;
  const int64_t count = halves.NumElements();
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, halves.data + i * static_cast<int64_t>(sizeof(bits)), sizeof(bits));
    if ((bits & kExponent) == kExponent) return i;
  }
  return count;
}

/// Scales or minima.
absl::Status CheckOfBlocks(const TensorView& tensor, const std::vector<int64_t>& shape,
                           const std::string& where) {
  if (tensor.dtype != WeightFormat::kF16) {
    return Refusal(At(where, "dtype"), Words{std::string(kernels::NameOf(tensor.dtype))}, "F16");
  }
  if (tensor.shape != shape) {
    return Refusal(At(where, "shape"), Words{Concat("[", absl::StrJoin(tensor.shape, ", "), "]")},
                   Concat("[", absl::StrJoin(shape, ", "), "], a number for each block"));
  }
  const int64_t bad = FirstNotFinite(tensor);
  if (bad == tensor.NumElements()) return absl::OkStatus();
  return Refusal(At(where, Concat("number ", bad)), Words{"infinite or NaN"}, "finite numbers");
}

}  // namespace

std::vector<int64_t> NumbersShape(const TensorView& tensor) {
  std::vector<int64_t> shape = tensor.shape;
  if (tensor.dtype == WeightFormat::kInt4 && !shape.empty()) shape.back() *= 2;
  return shape;
}

absl::StatusOr<std::vector<std::string>> CheckBlocks(const ExpectedTensor& expected,
                                                     const TensorView& codes,
                                                     const TensorMap& tensors,
                                                     std::string_view origin) {
  const auto where = [origin](const std::string& name) {
    return At(origin, Concat("tensor ", Quoted(name)));
  };
  const int64_t in = expected.shape.back();
  if (!expected.may_be_in_blocks || in % kernels::kWeightBlock != 0) {
    return Refusal(
        At(where(expected.name), "dtype"), Words{std::string(kernels::NameOf(codes.dtype))},
        Concat(kPlainFormats,
               expected.may_be_in_blocks
                   ? Concat("; rows of ", in, " are not whole blocks of ", kernels::kWeightBlock)
                   : ", and integers in products and embeddings alone"));
  }
  const std::vector<int64_t> shape = {expected.shape.front(), in / kernels::kWeightBlock};
  std::vector<std::string> names;
  const auto check = [&](std::string name, bool required) -> absl::Status {
    const auto tensor = tensors.find(name);
    if (tensor == tensors.end()) {
      if (!required) return absl::OkStatus();
      return Refusal(where(name), Words{"missing"}, "the scales of the weight's blocks, F16");
    }
    names.push_back(std::move(name));
    return CheckOfBlocks(tensor->second, shape, where(names.back()));
  };
  absl::Status status = check(ScalesOf(expected.name), /*required=*/true);
  if (status.ok() && codes.dtype == WeightFormat::kInt4) {
    status = check(MinimaOf(expected.name), /*required=*/false);
  }
  if (!status.ok()) return status;
  return names;
}

}  // namespace fmaserver::model
