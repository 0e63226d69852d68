// The one symbol of libfma_cuda.so; see kernels/cuda_library.h.
#include <algorithm>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda_library.h"

namespace {

int Fail(const absl::Status& status, char* message, size_t message_bytes) {
  const size_t length = std::min(message_bytes - 1, status.message().size());
  std::memcpy(message, status.message().data(), length);
  message[length] = '\0';
  return static_cast<int>(status.code());
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int fma_make_cuda_backend(
    const char* abi, int device, fmaserver::kernels::Backend** backend, char* message,
    size_t message_bytes) {
  if (std::strcmp(abi, FMA_BACKEND_ABI) != 0) {
    return Fail(absl::FailedPreconditionError(absl::StrCat("libfma_cuda.so is of interface ",
                                                           FMA_BACKEND_ABI, ", this program of ",
                                                           abi, "; take both from one build")),
                message, message_bytes);
  }
  auto made = fmaserver::kernels::cuda::MakeCudaBackend(device);
  if (!made.ok()) return Fail(made.status(), message, message_bytes);
  *backend = made->release();
  return 0;
}
