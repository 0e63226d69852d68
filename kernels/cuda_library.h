// libfma_cuda.so at run time: where it is found, and its one symbol.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace fmaserver::kernels {

inline constexpr char kCudaEntryName[] = "fma_make_cuda_backend";

/// What kCudaEntryName points to. `abi` is FMA_BACKEND_ABI of the caller's build, a digest of the
/// headers that both sides share; if the library's differs, it refuses before anything else.
/// Returns 0 and sets `*backend`, or returns an absl::StatusCode and writes the reason to `message`
/// (`message_bytes`, including the final zero).
using CudaEntry = int(const char* abi, int device, Backend** backend, char* message,
                      size_t message_bytes);

/// The backend of GPU `device`, from the file that FMA_CUDA_LIBRARY names, else from libfma_cuda.so
/// beside this executable or in lib/ beside its folder. The library stays loaded for ever.
/// UNAVAILABLE when the library, what it links to, the driver or the device is missing;
/// FAILED_PRECONDITION when the library belongs to another build or the device's architecture is
/// not supported.
absl::StatusOr<std::unique_ptr<Backend>> LoadCudaBackend(int device);

}  // namespace fmaserver::kernels
