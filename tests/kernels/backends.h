// The backends that the suite runs on: the CPU once per instruction set that this machine has, CUDA
// over the block emulator, and CUDA on a GPU where there is one.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"

namespace fmaserver::testing {

/// Names of the variants, for example "cpu_AVX3", "cuda_emulated", "cuda_gpu".
std::vector<std::string> BackendNames();
/// Only those of the CPU.
std::vector<std::string> CpuBackendNames();
/// All, and the CPU with the instructions for products that it has besides (AVX-VNNI, with 512 bits
/// or 256) and with emulated matrix tiles.
std::vector<std::string> ProductBackendNames();
/// Only those of CUDA.
std::vector<std::string> CudaBackendNames();

/// A test on one variant; the CPU has two threads, and its choice of instruction set ends with the
/// test. On "cuda_gpu" it is skipped, with the reason, when there is no GPU.
class BackendTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override;
  void TearDown() override;

  kernels::Backend& backend() { return *backend_; }
  /// Makes it one of so many threads; of the CPU alone. What it made before must be gone.
  void UseThreads(int threads);
  bool IsCuda() const { return GetParam().starts_with("cuda"); }
  /// How many random cases to run: `all` of them, or a few in the emulator, which is slow.
  int Rounds(int all) const { return GetParam() == "cuda_emulated" ? (all + 5) / 6 : all; }

  /// Expects the same bits on the CPU, and nearly the same numbers on CUDA, where a larger step may
  /// sum in another order.
  void ExpectSameRows(std::span<const float> a, std::span<const float> b, float tolerance);

 private:
  std::unique_ptr<kernels::Backend> backend_;
};

/// A matrix in a backend's memory.
class DeviceMatrix {
 public:
  /// Holds `values`, row by row.
  DeviceMatrix(kernels::Backend& backend, int64_t rows, const std::vector<float>& values);
  /// Holds NaN.
  DeviceMatrix(kernels::Backend& backend, int64_t rows, int64_t cols)
      : DeviceMatrix(backend, rows, std::vector<float>(rows * cols, NAN)) {}

  operator kernels::Matrix() const { return view_; }  // NOLINT: stands for its matrix in calls
  kernels::Matrix Rows(int64_t first, int64_t count) const {
    return {view_.Row(first), count, view_.cols};
  }
  /// Waits for all earlier operations, and returns the matrix.
  std::vector<float> Read() const;

 private:
  kernels::Backend& backend_;
  std::unique_ptr<kernels::Buffer> buffer_;
  kernels::Matrix view_;
};

#define FMA_ON_BACKENDS(suite, names)                                     \
  INSTANTIATE_TEST_SUITE_P(Backends, suite, ::testing::ValuesIn(names()), \
                           [](const auto& name) { return name.param; })
#define FMA_ON_EVERY_BACKEND(suite) FMA_ON_BACKENDS(suite, BackendNames)

}  // namespace fmaserver::testing
