#include "kernels/cuda_library.h"

#include <dlfcn.h>

#include <array>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/environment.h"

namespace fmaserver::kernels {
namespace {

constexpr char kFileName[] = "libfma_cuda.so";

/// FMA_CUDA_LIBRARY, or what lies beside the program, or in lib/ beside the program's folder.
absl::StatusOr<std::string> LibraryPath() {
  if (auto path = FromEnvironment("FMA_CUDA_LIBRARY")) return *std::move(path);
  std::error_code error;
  const std::filesystem::path folder =
      std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  const std::filesystem::path beside = folder / kFileName;
  for (const auto& path : {beside, folder.parent_path() / "lib" / kFileName}) {
    if (std::filesystem::exists(path, error)) return path.string();
  }
  return absl::UnavailableError(absl::StrCat(
      "there is no ", beside.string(), " (built by the preset `cuda`) nor one in ../lib, and ",
      "FMA_CUDA_LIBRARY names no other"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> LoadCudaBackend(int device) {
  const absl::StatusOr<std::string> path = LibraryPath();
  if (!path.ok()) return path.status();
  void* library = dlopen(path->c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot load the CUDA backend: ", dlerror()));
  }
  auto* entry = reinterpret_cast<CudaEntry*>(dlsym(library, kCudaEntryName));
  if (entry == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat(*path, " is no CUDA backend: it has no ", kCudaEntryName));
  }
  Backend* backend = nullptr;
  std::array<char, 1024> message = {};
  const int code = entry(FMA_BACKEND_ABI, device, &backend, message.data(), message.size());
  if (code != 0) return absl::Status(static_cast<absl::StatusCode>(code), message.data());
  return std::unique_ptr<Backend>(backend);
}

}  // namespace fmaserver::kernels
