#include <cublasLt.h>

#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/dense/plan_cache.h"
#include "kernels/cuda/dense/products.h"

namespace fmaserver::kernels::cuda {
namespace {

/// The size that NVIDIA suggests for Hopper. All products share the workspace, because they run in
/// one stream.
constexpr size_t kWorkspaceBytes = size_t{32} << 20;

absl::Status AsStatus(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("cuBLASLt: ", what, ": ", cublasLtGetStatusString(status)));
}

cudaDataType_t TypeOf(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return CUDA_R_32F;
    case WeightFormat::kF16:
      return CUDA_R_16F;
    case WeightFormat::kBF16:
      return CUDA_R_16BF;
    case WeightFormat::kInt8:
    case WeightFormat::kInt4:
      break;  // have kernels of their own
  }
  return CUDA_R_32F;
}

/// Owns one of cuBLASLt's descriptors.
template <typename T, cublasStatus_t (*kDestroy)(T)>
class Owned {
 public:
  Owned() = default;
  Owned(Owned&& other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Owned() {
    if (value_ != nullptr) kDestroy(value_);
  }
  T* out() { return &value_; }
  T get() const { return value_; }

 private:
  T value_ = nullptr;
};

using Handle = Owned<cublasLtHandle_t, cublasLtDestroy>;
using Operation = Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

/// Everything about a product except its addresses; `alignment` is that of x and y in bytes, at
/// most 16.
using Shape =
    std::tuple<WeightFormat, int64_t, int64_t, int64_t, int64_t, int64_t, bool, bool, uint32_t>;

uint32_t AlignmentOf(const Product& product) {
  const auto bits = reinterpret_cast<uintptr_t>(product.x) | reinterpret_cast<uintptr_t>(product.y);
  return (bits & 15) == 0 ? 16 : 4;
}

Shape ShapeOf(const Product& p) {
  return {p.format,          p.rows,       p.in,          p.out, p.pitch, p.x_pitch,
          p.bias != nullptr, p.accumulate, AlignmentOf(p)};
}

/// How to compute one shape. cuBLASLt's matrices are column-major, so it computes the transposed
/// product y^T [out, rows] = W [out, in] x^T [in, rows].
struct Plan {
  Operation operation;
  Layout weight;
  Layout x;
  Layout y;
  cublasLtMatmulAlgo_t algorithm = {};
  bool possible = false;
};

class CublasLtProducts : public Products {
 public:
  static absl::StatusOr<std::unique_ptr<Products>> Create() {
    auto products = std::make_unique<CublasLtProducts>();
    absl::Status status = AsStatus(cublasLtCreate(products->handle_.out()), "create");
    if (!status.ok()) return status;
    auto workspace = Memory::Allocate(Memory::Kind::kDevice, kWorkspaceBytes);
    if (!workspace.ok()) return workspace.status();
    products->workspace_ = *std::move(workspace);
    return products;
  }

  absl::Status Multiply(Stream& stream, const Product& product) override {
    const absl::StatusOr<Plan*> found =
        plans_.Find(ShapeOf(product), [&](Plan& fresh) { return MakePlan(product, fresh); });
    if (!found.ok()) return found.status();
    Plan& plan = **found;
    if (!plan.possible) {
      return absl::UnimplementedError("cuBLASLt has no algorithm for this product");
    }
    if (product.bias != nullptr) {
      const absl::Status status = Set(plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER, product.bias);
      if (!status.ok()) return status;
    }
    const float one = 1;
    const float beta = product.accumulate ? 1 : 0;
    return AsStatus(
        cublasLtMatmul(handle_.get(), plan.operation.get(), &one, product.weight, plan.weight.get(),
                       product.x, plan.x.get(), &beta, product.y, plan.y.get(), product.y,
                       plan.y.get(), &plan.algorithm, workspace_.data(), kWorkspaceBytes,
                       static_cast<cudaStream_t>(stream.handle())),
        "product");
  }

 private:
  template <typename T>
  static absl::Status Set(Plan& plan, cublasLtMatmulDescAttributes_t attribute, const T& value) {
    return AsStatus(
        cublasLtMatmulDescSetAttribute(plan.operation.get(), attribute, &value, sizeof(value)),
        "attribute");
  }

  static absl::Status Describe(const Product& product, Plan& plan) {
    const cudaDataType_t type = TypeOf(product.format);
    absl::Status status = AsStatus(
        cublasLtMatmulDescCreate(plan.operation.out(), CUBLAS_COMPUTE_32F, CUDA_R_32F), "describe");
    status.Update(Set(plan, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T));
    if (product.bias != nullptr) {
      status.Update(Set(plan, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS));
      status.Update(Set(plan, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F));
      status.Update(Set(plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER, product.bias));
    }
    status.Update(AsStatus(
        cublasLtMatrixLayoutCreate(plan.weight.out(), type, product.in, product.out, product.pitch),
        "weight"));
    status.Update(AsStatus(
        cublasLtMatrixLayoutCreate(plan.x.out(), type, product.in, product.rows, product.x_pitch),
        "input"));
    status.Update(AsStatus(cublasLtMatrixLayoutCreate(plan.y.out(), CUDA_R_32F, product.out,
                                                      product.rows, product.out),
                           "output"));
    return status;
  }

  template <typename T>
  static absl::Status Prefer(const Preference& preference,
                             cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
    return AsStatus(
        cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof(value)),
        "preference");
  }

  absl::Status MakePlan(const Product& product, Plan& plan) {
    absl::Status status = Describe(product, plan);
    Preference preference;
    status.Update(AsStatus(cublasLtMatmulPreferenceCreate(preference.out()), "preference"));
    status.Update(Prefer(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes));
    const uint32_t alignment = AlignmentOf(product);
    status.Update(Prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment));
    status.Update(Prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment));
    status.Update(Prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment));
    if (!status.ok()) return status;
    cublasLtMatmulHeuristicResult_t found = {};
    int count = 0;
    const cublasStatus_t search = cublasLtMatmulAlgoGetHeuristic(
        handle_.get(), plan.operation.get(), plan.weight.get(), plan.x.get(), plan.y.get(),
        plan.y.get(), preference.get(), 1, &found, &count);
    if (search != CUBLAS_STATUS_NOT_SUPPORTED) status = AsStatus(search, "search");
    plan.possible = search == CUBLAS_STATUS_SUCCESS && count > 0;
    plan.algorithm = found.algo;
    return status;
  }

  Handle handle_;
  Memory workspace_;
  PlanCache<Shape, Plan> plans_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Products>> MakeProducts() { return CublasLtProducts::Create(); }

}  // namespace fmaserver::kernels::cuda
