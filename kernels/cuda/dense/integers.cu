#include "kernels/cuda/dense/integers.h"

#include "kernels/cuda/dense/integer_linear_kernel.h"
#include "kernels/cuda/dense/integer_product_kernel.h"
#include "kernels/cuda/dense/round_inputs_kernel.h"
#include "kernels/cuda/runtime/launch.h"

namespace fmaserver::kernels::cuda {
namespace {

/// Up to so many rows the weights' bandwidth decides, and many blocks with a few outputs each use
/// more of it. Both kernels give the same bits.
constexpr int64_t kRowsOfLinear = 32;

/// Whether the product's blocks are to round its inputs, as each of them must then do for itself:
/// when all of them together round no more numbers than an H100 does in half the time of a launch,
/// by the count of instructions, and have shared memory for them beside the sums.
bool RoundsItself(const LinearOperation& operation) {
  constexpr int64_t kMostNumbers = int64_t{1} << 20;
  constexpr int64_t kMostBytes = 24576;
  const Matrix& x = operation.x;
  return x.rows <= TileUnit::kRows &&
         StripUnit::Strips(operation.weights.out) * x.rows * x.cols <= kMostNumbers &&
         RoundedHere::SharedMemory(operation.weights.in, x.rows) <= kMostBytes;
}

FloatInputs InputsOf(const LinearOperation& operation) {
  const Matrix& x = operation.x;
  const int64_t in = operation.weights.in;
  FloatInputs inputs;
  inputs.x = x.data;
  inputs.cols = x.cols;
  inputs.in = in;
  inputs.x_is_aligned =
      x.cols % 4 == 0 && in % 4 == 0 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0;
  inputs.norm = operation.norm;
  inputs.norm_eps = operation.norm_eps;
  inputs.activates = operation.activates_x;
  inputs.activation = operation.activation;
  return inputs;
}

absl::Status LaunchRoundInputs(Stream& stream, const LinearOperation& operation,
                               std::byte* rounded) {
  RoundInputsKernel kernel{InputsOf(operation)};
  kernel.out = rounded;
  kernel.rows = operation.x.rows;
  return Launch(stream,
                {.blocks_x = RoundInputsKernel::Blocks(kernel.rows, kernel.in),
                 .shared_bytes = RoundInputsKernel::kSharedBytes},
                kernel);
}

template <int kBits, bool kMinima, class Inputs>
absl::Status LaunchLinear(Stream& stream, const IntegerProduct& product, int64_t in,
                          const Inputs& inputs) {
  using Kernel = IntegerLinearKernel<kBits, kMinima, Inputs>;
  return Launch(stream,
                {.blocks_x = Kernel::Blocks(product.out, product.rows),
                 .shared_bytes = Kernel::SharedMemory(in, product.rows)},
                Kernel{product, inputs});
}

template <int kBits, bool kMinima>
absl::Status LaunchProduct(Stream& stream, const LinearOperation& operation,
                           const IntegerProduct& product) {
  const int64_t in = operation.weights.in;
  if (product.x == nullptr) {
    return LaunchLinear<kBits, kMinima>(stream, product, in, RoundedHere{InputsOf(operation)});
  }
  if (product.rows <= kRowsOfLinear) {
    return LaunchLinear<kBits, kMinima>(stream, product, in, RoundedBefore{});
  }
  using Kernel = IntegerProductKernel<kBits, kMinima>;
  return Launch(stream, {.blocks_x = Kernel::Blocks(product.out, product.rows)}, Kernel{product});
}

template <int kBits>
absl::Status LaunchBits(Stream& stream, const LinearOperation& operation,
                        const IntegerProduct& product) {
  return operation.weights.has_minima ? LaunchProduct<kBits, true>(stream, operation, product)
                                      : LaunchProduct<kBits, false>(stream, operation, product);
}

}  // namespace

absl::Status LaunchIntegerLinear(Stream& stream, const LinearOperation& operation,
                                 std::byte* rounded) {
  const DeviceWeight& weights = operation.weights;
  IntegerProduct product = {.weight = static_cast<const std::byte*>(weights.data),
                            .bias = weights.bias,
                            .y = operation.y.data,
                            .units = UnitsOf(weights.in),
                            .out = weights.out,
                            .rows = operation.x.rows,
                            .accumulate = operation.accumulate};
  if (!RoundsItself(operation)) {
    absl::Status status = LaunchRoundInputs(stream, operation, rounded);
    if (!status.ok()) return status;
    product.x = rounded;
  }
  return weights.format == WeightFormat::kInt8 ? LaunchBits<8>(stream, operation, product)
                                               : LaunchBits<4>(stream, operation, product);
}

}  // namespace fmaserver::kernels::cuda
