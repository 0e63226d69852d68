// From a device's name to its backend. The CUDA backend is a shared library that is loaded only
// when it is asked for, so the same program runs on machines without a GPU or its driver.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace fmaserver::kernels {

struct ChosenBackend {
  std::unique_ptr<Backend> backend;
  std::string why;  ///< for the log: why `auto` did not take a GPU; else empty
};

/// INVALID_ARGUMENT unless `device` is "auto", "cpu" or "cuda:N", N the number of a GPU.
absl::Status CheckDeviceName(const std::string& device);

/// "cpu": the CPU with `threads` as MakeCpuBackend takes them. "cuda:N": that GPU, or the reason
/// why not. "auto": cuda:0 when it can be had, else the CPU.
absl::StatusOr<ChosenBackend> MakeBackend(const std::string& device, int threads);

}  // namespace fmaserver::kernels
