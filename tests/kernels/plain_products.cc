// Plain loops in place of cuBLASLt: kernels/cuda/dense/products.h for the block emulator.
#include "kernels/cuda/dense/products.h"

#include "kernels/cuda/runtime/element.h"
#include "kernels/cuda/runtime/launch.h"

namespace fmaserver::kernels::cuda {
namespace {

/// Grid: rows. One thread computes a row, output by output.
template <typename T>
struct PlainProductKernel {
  static constexpr int kThreads = 1;
  static constexpr const char* kName = "plain_product";

  Product product;

  void operator()() const {
    const int64_t row = BlockIndex();
    const T* x = static_cast<const T*>(product.x) + row * product.x_pitch;
    for (int64_t out = 0; out < product.out; ++out) {
      const T* weights = static_cast<const T*>(product.weight) + out * product.pitch;
      float sum = 0;
      for (int64_t i = 0; i < product.in; ++i)
        sum += AsFloat(Load(x + i)) * AsFloat(Load(weights + i));
      if (product.bias != nullptr) sum += Load(product.bias + out);
      float* y = product.y + row * product.out + out;
      if (product.accumulate) sum += Load(y);
      Store(y, sum);
    }
  }
};

template <typename T>
absl::Status Run(Stream& stream, const Product& product) {
  return Launch(stream, {.blocks_x = product.rows}, PlainProductKernel<T>{product});
}

class PlainProducts : public Products {
 public:
  absl::Status Multiply(Stream& stream, const Product& product) override {
    switch (product.format) {
      case WeightFormat::kF32:
        return Run<float>(stream, product);
      case WeightFormat::kF16:
        return Run<Float16>(stream, product);
      case WeightFormat::kBF16:
        return Run<BFloat16>(stream, product);
      case WeightFormat::kInt8:
      case WeightFormat::kInt4:
        break;  // have kernels of their own
    }
    return absl::UnimplementedError("no such element type");
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Products>> MakeProducts() {
  return std::make_unique<PlainProducts>();
}

}  // namespace fmaserver::kernels::cuda
