#include "kernels/cpu/linear.h"

#include <algorithm>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/host/linear.h"

namespace fmaserver::kernels::cpu {

absl::Status CpuLinear::TakeShapeAndBias(std::span<const HostLinear> stacked) {
  const absl::StatusOr<StackedShape> shape = ShapeOf(stacked);
  if (!shape.ok()) return shape.status();
  out = shape->out;
  in = shape->in;
  format_ = shape->format;
  const std::vector<float> biases = StackedBias(stacked);
  if (biases.empty()) return absl::OkStatus();
  bias_ = TryAllocateAligned<float>(panels() * kPanel);
  if (bias_ == nullptr) return absl::ResourceExhaustedError("no memory for biases");
  std::fill_n(bias_.get(), panels() * kPanel, 0.0F);
  std::ranges::copy(biases, bias_.get());
  return absl::OkStatus();
}

absl::StatusOr<BlockPart> AllocateWeights(int64_t bytes) {
  BlockPart memory = TryAllocateInHugePages(bytes);
  if (memory == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", bytes, " bytes of weights"));
  }
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
