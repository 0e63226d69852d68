#include "kernels/cpu/linear.h"

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cpu/scalar.h"

namespace fmaserver::kernels::cpu {

absl::Status CpuLinear::TakeShapeAndBias(std::span<const HostLinear> stacked) {
  in = stacked.front().weight.cols;
  bool any_bias = false;
  for (const HostLinear& part : stacked) {
    out += part.weight.rows;
    any_bias = any_bias || part.bias.data != nullptr;
  }
  if (!any_bias) return absl::OkStatus();
  bias_ = TryAllocateAligned<float>(panels() * kPanel);
  if (bias_ == nullptr) return absl::ResourceExhaustedError("no memory for biases");
  std::fill_n(bias_.get(), panels() * kPanel, 0.0F);
  int64_t first_out = 0;
  for (const HostLinear& part : stacked) {
    for (int64_t i = 0; part.bias.data != nullptr && i < part.weight.rows; ++i) {
      bias_[first_out + i] = ElementAsFloat(part.bias, i);
    }
    first_out += part.weight.rows;
  }
  return absl::OkStatus();
}

DType CommonDType(std::span<const HostLinear> stacked) {
  const DType dtype = stacked.front().weight.dtype;
  const auto differs = [dtype](const HostLinear& part) { return part.weight.dtype != dtype; };
  return std::ranges::any_of(stacked, differs) ? DType::kF32 : dtype;
}

absl::StatusOr<AlignedArray<std::byte>> AllocateWeights(int64_t bytes) {
  AlignedArray<std::byte> memory = TryAllocateAligned<std::byte>(bytes);
  if (memory == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", bytes, " bytes of weights"));
  }
  std::memset(memory.get(), 0, static_cast<size_t>(bytes));
  return memory;
}

void EmbedRows(ThreadPool& pool, std::span<const int64_t> ids, const CpuLinear& table,
               bool accumulate, Matrix x) {
  pool.ParallelFor(x.rows, [&](int64_t row, int) {
    float* out = x.Row(row);
    for (int64_t i = 0; i < x.cols; ++i) {
      const float value = table.At(ids[row], i);
      out[i] = accumulate ? out[i] + value : value;
    }
  });
}

}  // namespace fmaserver::kernels::cpu
