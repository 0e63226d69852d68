// From a device's name to its backend. The CUDA backend is a shared library that is loaded only
// when it is asked for, so the same program runs on machines without a GPU or its driver.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu_backend.h"

namespace fmaserver::kernels {

struct ChosenBackend {
  std::unique_ptr<Backend> backend;
  std::string why;  ///< for the log: why `auto` did not take a GPU; else empty
};

/// INVALID_ARGUMENT unless `device` is "auto", "cpu" or "cuda:N", N the number of a GPU.
absl::Status CheckDeviceName(const std::string& device);

/// Makes the backends of one program, which share the CPU's threads. Thread-safe.
class Devices {
 public:
  /// `threads` is what MakeCpuThreads takes; no thread starts before the first backend on the CPU.
  explicit Devices(int threads) : threads_(threads) {}

  /// "cpu": the CPU. "cuda:N": that GPU, or an error that says why not. "auto": cuda:0 when it is
  /// available, else the CPU.
  absl::StatusOr<ChosenBackend> MakeBackend(const std::string& device);

 private:
  absl::StatusOr<std::shared_ptr<CpuThreads>> Threads();

  const int threads_;
  std::mutex mutex_;
  std::shared_ptr<CpuThreads> cpu_;  // guarded by mutex_; null: none yet
};

/// The backend of a program that needs only one.
absl::StatusOr<ChosenBackend> MakeBackend(const std::string& device, int threads);

}  // namespace fmaserver::kernels
