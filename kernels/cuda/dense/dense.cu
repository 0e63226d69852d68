#include "kernels/cuda/dense/dense.h"

#include <type_traits>

#include "kernels/cuda/dense/embed_kernel.h"
#include "kernels/cuda/dense/linear_kernel.h"
#include "kernels/cuda/dense/norm_kernel.h"
#include "kernels/cuda/dense/pointwise_kernel.h"
#include "kernels/cuda/dense/tensor_linear_kernel.h"
#include "kernels/cuda/runtime/launch.h"

namespace fmaserver::kernels::cuda {
namespace {

/// Calls `function` with a value of the element type.
template <typename Function>
absl::Status WithElement(WeightFormat format, const Function& function) {
  switch (format) {
    case WeightFormat::kF32:
      return function(float{});
    case WeightFormat::kF16:
      return function(Float16{});
    case WeightFormat::kBF16:
      return function(BFloat16{});
    case WeightFormat::kInt8:
    case WeightFormat::kInt4:
      break;  // integers.cu
  }
  return absl::InternalError("integers in blocks are no elements");
}

LaunchShape PointwiseShape(int64_t rows, int64_t cols) {
  return {.blocks_x = rows * Pointwise::Chunks(cols)};
}

template <typename T>
LinearParameters<T> ParametersOf(const LinearOperation& operation) {
  const DeviceWeight& weights = operation.weights;
  const Matrix& x = operation.x;
  return {
      .weight = static_cast<const T*>(weights.data),
      .bias = weights.bias,
      .x = x.data,
      .y = operation.y.data,
      .pitch = weights.pitch,
      .in = weights.in,
      .out = weights.out,
      .rows = static_cast<int32_t>(x.rows),
      .norm = operation.norm,
      .norm_eps = operation.norm_eps,
      .x_is_aligned = x.cols % 4 == 0 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0,
      .accumulate = operation.accumulate,
      .activates = operation.activates,
      .activation = operation.activation,
  };
}

template <typename T, int kRows, int kOutputs, int kDepth, bool kNorms>
absl::Status LaunchLinearAs(Stream& stream, const LinearOperation& operation) {
  using Kernel = LinearKernel<T, kRows, kOutputs, kDepth, kNorms>;
  return Launch(stream, {.blocks_x = Kernel::Blocks(operation.weights.out)},
                Kernel{ParametersOf<T>(operation)});
}

/// With few rows, more pieces in flight (depth). With more rows, more outputs that share the
/// inputs.
template <typename T, bool kNorms>
absl::Status LaunchLinearOf(Stream& stream, const LinearOperation& operation) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    using Kernel = TensorLinearKernel<kNorms>;
    return Launch(
        stream,
        {.blocks_x = Kernel::Blocks(operation.weights.out), .shared_bytes = Kernel::SharedMemory()},
        Kernel{ParametersOf<BFloat16>(operation)});
  } else {
    const int64_t rows = operation.x.rows;
    if (rows == 1) return LaunchLinearAs<T, 1, 2, 4, kNorms>(stream, operation);
    if (rows == 2) return LaunchLinearAs<T, 2, 2, 4, kNorms>(stream, operation);
    if (rows <= 4) return LaunchLinearAs<T, 4, 2, 4, kNorms>(stream, operation);
    return LaunchLinearAs<T, kFewRows, 4, 1, kNorms>(stream, operation);
  }
}

}  // namespace

absl::Status LaunchEmbed(Stream& stream, const int64_t* ids, const DeviceWeight& table,
                         bool accumulate, Matrix x) {
  const auto launch = [&]<class Table>(const Table& rows) {
    EmbedKernel<Table> kernel;
    kernel.ids = ids;
    kernel.table = rows;
    kernel.x = x.data;
    kernel.cols = x.cols;
    kernel.accumulate = accumulate;
    return Launch(stream, PointwiseShape(x.rows, x.cols), kernel);
  };
  if (InBlocks(table.format)) {
    return launch(IntegerTable{static_cast<const std::byte*>(table.data),
                               {table.format, table.has_minima},
                               UnitsOf(x.cols)});
  }
  return WithElement(table.format, [&]<typename T>(T) {
    return launch(ElementTable<T>{static_cast<const T*>(table.data), table.pitch});
  });
}

absl::Status LaunchNorm(Stream& stream, Matrix x, const DeviceNormWeight& weights, Matrix out) {
  NormKernel kernel;
  kernel.x = x.data;
  kernel.weight = weights.weight;
  kernel.bias = weights.bias;
  kernel.out = out.data;
  kernel.cols = x.cols;
  kernel.eps = weights.eps;
  kernel.kind = weights.kind;
  return Launch(stream, {.blocks_x = x.rows, .shared_bytes = NormKernel::kSharedBytes}, kernel);
}

absl::Status LaunchLinear(Stream& stream, const LinearOperation& operation) {
  return WithElement(operation.weights.format, [&]<typename T>(T) {
    return operation.norm != nullptr ? LaunchLinearOf<T, true>(stream, operation)
                                     : LaunchLinearOf<T, false>(stream, operation);
  });
}

absl::Status LaunchActivate(Stream& stream, MlpKind kind, Matrix in, Matrix out) {
  ActivateKernel kernel;
  kernel.in = in.data;
  kernel.out = out.data;
  kernel.cols = out.cols;
  kernel.kind = kind;
  return Launch(stream, PointwiseShape(out.rows, out.cols), kernel);
}

absl::Status LaunchGather(Stream& stream, Matrix x, const int32_t* rows, Matrix out) {
  GatherKernel kernel;
  kernel.rows = rows;
  kernel.x = x.data;
  kernel.out = out.data;
  kernel.cols = out.cols;
  return Launch(stream, PointwiseShape(out.rows, out.cols), kernel);
}

absl::Status LaunchRound(Stream& stream, Matrix x, WeightFormat format, int64_t pitch, void* out,
                         int32_t* overflow) {
  return WithElement(format, [&]<typename T>(T) {
    RoundKernel<T> kernel;
    kernel.x = x.data;
    kernel.out = static_cast<T*>(out);
    kernel.cols = x.cols;
    kernel.pitch = pitch;
    kernel.overflow = overflow;
    return Launch(stream, PointwiseShape(x.rows, pitch), kernel);
  });
}

}  // namespace fmaserver::kernels::cuda
