// The best that a GPU reaches, as one JSON object: the bandwidth of a large copy on the device and
// the rate of a large bfloat16 product. step_speed's numbers are divided by them.
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

namespace {

void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "gpu_ceiling: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

void Check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  std::fprintf(stderr, "gpu_ceiling: %s: %s\n", what, cublasLtGetStatusString(status));
  std::exit(1);
}

/// The median time of `run` on the default stream, in milliseconds.
double Time(const std::function<void()>& run) {
  constexpr int kWarmUp = 3;
  constexpr int kRuns = 20;
  cudaEvent_t begin;
  cudaEvent_t end;
  Check(cudaEventCreate(&begin), "event");
  Check(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int i = 0; i < kWarmUp + kRuns; ++i) {
    Check(cudaEventRecord(begin), "record");
    run();
    Check(cudaEventRecord(end), "record");
    Check(cudaEventSynchronize(end), "wait");
    float milliseconds = 0;
    Check(cudaEventElapsedTime(&milliseconds, begin, end), "time");
    if (i >= kWarmUp) times.push_back(milliseconds);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

/// Bytes read and written per second, in GB.
double CopyBandwidth() {
  constexpr size_t kBytes = size_t{2} << 30;
  void* from = nullptr;
  void* to = nullptr;
  Check(cudaMalloc(&from, kBytes), "memory");
  Check(cudaMalloc(&to, kBytes), "memory");
  Check(cudaMemset(from, 1, kBytes), "fill");
  const double milliseconds =
      Time([&] { Check(cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDeviceToDevice), "copy"); });
  Check(cudaFree(from), "free");
  Check(cudaFree(to), "free");
  return 2.0 * kBytes / milliseconds / 1e6;
}

/// Fills with varying numbers in [-0.5, 0.5): a product of equal numbers draws less power and runs
/// faster.
__global__ void Fill(__nv_bfloat16* out, uint32_t count) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  uint32_t bits = i * 0x9E3779B1u;
  bits = (bits ^ (bits >> 15)) * 0x85EBCA6Bu;
  out[i] = __float2bfloat16(static_cast<float>(bits >> 16) / 65536 - 0.5f);
}

/// TFLOP per second of an n x n x n product of bfloat16 with float32 sums and outputs.
double ProductRate() {
  constexpr int64_t kSize = 8192;
  constexpr size_t kWorkspace = size_t{64} << 20;
  __nv_bfloat16* a = nullptr;
  float* c = nullptr;
  void* workspace = nullptr;
  Check(cudaMalloc(&a, kSize * kSize * sizeof(*a)), "memory");
  Check(cudaMalloc(&c, kSize * kSize * sizeof(*c)), "memory");
  Check(cudaMalloc(&workspace, kWorkspace), "memory");
  Fill<<<kSize * kSize / 256, 256>>>(a, kSize * kSize);
  Check(cudaGetLastError(), "fill");
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t inputs = nullptr;
  cublasLtMatrixLayout_t output = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  Check(cublasLtCreate(&handle), "handle");
  Check(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "operation");
  const cublasOperation_t transposed = CUBLAS_OP_T;
  Check(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                       sizeof(transposed)),
        "operation");
  Check(cublasLtMatrixLayoutCreate(&inputs, CUDA_R_16BF, kSize, kSize, kSize), "layout");
  Check(cublasLtMatrixLayoutCreate(&output, CUDA_R_32F, kSize, kSize, kSize), "layout");
  Check(cublasLtMatmulPreferenceCreate(&preference), "preference");
  Check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &kWorkspace, sizeof(kWorkspace)),
        "preference");
  cublasLtMatmulHeuristicResult_t found = {};
  int count = 0;
  Check(cublasLtMatmulAlgoGetHeuristic(handle, operation, inputs, inputs, output, output,
                                       preference, 1, &found, &count),
        "algorithm");
  const float one = 1;
  const float zero = 0;
  const double milliseconds = Time([&] {
    Check(cublasLtMatmul(handle, operation, &one, a, inputs, a, inputs, &zero, c, output, c, output,
                         &found.algo, workspace, kWorkspace, nullptr),
          "product");
  });
  return 2.0 * kSize * kSize * kSize / milliseconds / 1e9;
}

}  // namespace

int main() {
  int devices = 0;
  Check(cudaGetDeviceCount(&devices), "looking for GPUs");
  cudaDeviceProp properties = {};
  Check(cudaGetDeviceProperties(&properties, 0), "GPU 0");
  std::printf("{\"gpu\": \"%s\", \"copy_gb_per_second\": %.1f, \"bf16_tflop_per_second\": %.1f}\n",
              properties.name, CopyBandwidth(), ProductRate());
  return 0;
}
