#include "kernels/cuda/dense/integers.h"

#include "kernels/cuda/dense/integer_embed_kernel.h"
#include "kernels/cuda/dense/integer_linear_kernel.h"
#include "kernels/cuda/dense/integer_product_kernel.h"
#include "kernels/cuda/dense/round_inputs_kernel.h"
#include "kernels/cuda/runtime/launch.h"

namespace fmaserver::kernels::cuda {
namespace {

/// Up to so many rows the weights' bandwidth decides, and many blocks with a few outputs each use
/// more of it. Both kernels give the same bits.
constexpr int64_t kRowsOfLinear = 32;

absl::Status LaunchRoundInputs(Stream& stream, const LinearOperation& operation,
                               std::byte* rounded) {
  const Matrix& x = operation.x;
  const int64_t in = operation.weights.in;
  RoundInputsKernel kernel;
  kernel.x = x.data;
  kernel.out = rounded;
  kernel.rows = x.rows;
  kernel.cols = x.cols;
  kernel.in = in;
  kernel.x_is_aligned =
      x.cols % 4 == 0 && in % 4 == 0 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0;
  kernel.norm = operation.norm;
  kernel.norm_eps = operation.norm_eps;
  kernel.activates = operation.activates_x;
  kernel.activation = operation.activation;
  return Launch(stream,
                {.blocks_x = RoundInputsKernel::Blocks(x.rows, in),
                 .shared_bytes = RoundInputsKernel::kSharedBytes},
                kernel);
}

template <int kBits, bool kMinima>
absl::Status LaunchProduct(Stream& stream, const IntegerProduct& product) {
  using Linear = IntegerLinearKernel<kBits, kMinima>;
  using Product = IntegerProductKernel<kBits, kMinima>;
  if (product.rows <= kRowsOfLinear) {
    return Launch(stream,
                  {.blocks_x = Linear::Blocks(product.out, product.rows),
                   .shared_bytes = Linear::SharedMemory()},
                  Linear{product});
  }
  return Launch(stream, {.blocks_x = Product::Blocks(product.out, product.rows)}, Product{product});
}

template <int kBits>
absl::Status LaunchBits(Stream& stream, const IntegerProduct& product, bool has_minima) {
  return has_minima ? LaunchProduct<kBits, true>(stream, product)
                    : LaunchProduct<kBits, false>(stream, product);
}

}  // namespace

absl::Status LaunchIntegerEmbed(Stream& stream, const int64_t* ids, const DeviceWeight& table,
                                bool accumulate, Matrix x) {
  IntegerEmbedKernel kernel;
  kernel.ids = ids;
  kernel.table = static_cast<const std::byte*>(table.data);
  kernel.unit = {table.format, table.has_minima};
  kernel.x = x.data;
  kernel.cols = x.cols;
  kernel.accumulate = accumulate;
  return Launch(stream, {.blocks_x = x.rows * Pointwise::Chunks(x.cols)}, kernel);
}

absl::Status LaunchIntegerLinear(Stream& stream, const LinearOperation& operation,
                                 std::byte* rounded) {
  const DeviceWeight& weights = operation.weights;
  absl::Status status = LaunchRoundInputs(stream, operation, rounded);
  const IntegerProduct product = {.weight = static_cast<const std::byte*>(weights.data),
                                  .x = rounded,
                                  .bias = weights.bias,
                                  .y = operation.y.data,
                                  .units = UnitsOf(weights.in),
                                  .out = weights.out,
                                  .rows = operation.x.rows,
                                  .accumulate = operation.accumulate};
  status.Update(weights.format == WeightFormat::kInt8
                    ? LaunchBits<8>(stream, product, weights.has_minima)
                    : LaunchBits<4>(stream, product, weights.has_minima));
  return status;
}

}  // namespace fmaserver::kernels::cuda
