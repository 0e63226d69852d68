#include "kernels/device.h"

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "kernels/cuda_library.h"

namespace fmaserver::kernels {
namespace {

constexpr std::string_view kCudaPrefix = "cuda:";
constexpr int kMaxCudaDevice = 255;

/// N of "cuda:N", in plain digits.
std::optional<int> CudaDevice(std::string_view device) {
  if (!device.starts_with(kCudaPrefix)) return std::nullopt;
  device.remove_prefix(kCudaPrefix.size());
  int number = -1;
  const auto [end, error] = std::from_chars(device.begin(), device.end(), number);
  const bool whole = error == std::errc() && end == device.end();
  if (!whole || !(number >= 0 && number <= kMaxCudaDevice)) return std::nullopt;
  return number;
}

}  // namespace

absl::Status CheckDeviceName(const std::string& device) {
  if (device == "auto" || device == "cpu" || CudaDevice(device).has_value()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "device is \"", device, "\"; allowed: auto, cpu, cuda:N with N from 0 to ", kMaxCudaDevice));
}

absl::StatusOr<std::shared_ptr<CpuThreads>> Devices::Threads() {
  const std::lock_guard lock(mutex_);
  if (cpu_ != nullptr) return cpu_;
  auto threads = MakeCpuThreads(threads_);
  if (threads.ok()) cpu_ = *threads;
  return threads;
}

absl::StatusOr<ChosenBackend> Devices::MakeBackend(const std::string& device) {
  if (absl::Status status = CheckDeviceName(device); !status.ok()) return status;
  ChosenBackend chosen;
  if (device != "cpu") {
    auto cuda = LoadCudaBackend(CudaDevice(device).value_or(0));
    if (cuda.ok()) {
      chosen.backend = *std::move(cuda);
      return chosen;
    }
    if (device != "auto") {
      return absl::Status(cuda.status().code(),
                          absl::StrCat("device ", device, ": ", cuda.status().message()));
    }
    chosen.why = std::string(cuda.status().message());
  }
  auto threads = Threads();
  if (!threads.ok()) return threads.status();
  chosen.backend = MakeCpuBackend(*std::move(threads));
  return chosen;
}

absl::StatusOr<ChosenBackend> MakeBackend(const std::string& device, int threads) {
  return Devices(threads).MakeBackend(device);
}

}  // namespace fmaserver::kernels
