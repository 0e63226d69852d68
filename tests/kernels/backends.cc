#include "tests/kernels/backends.h"

#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "hwy/targets.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/simd.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda_library.h"
#include "tests/kernels/cpu/emulated_tiles.h"

namespace fmaserver::testing {
namespace {

using kernels::cpu::Extensions;

constexpr char kTiles[] = "cpu_AMX";
constexpr char kEmulatedTiles[] = "cpu_emulated_AMX";
constexpr char kEmulated[] = "cuda_emulated";
constexpr char kGpu[] = "cuda_gpu";

/// Every target for which the kernels are compiled and that this processor has.
std::vector<int64_t> CpuTargets() {
  std::vector<int64_t> targets;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if ((target & HWY_DISABLED_TARGETS) == 0) targets.push_back(target);
  }
  return targets;
}

std::string NameOf(int64_t target) { return std::string("cpu_") + hwy::TargetName(target); }

/// With instructions for integers that not every processor of the target has.
std::string NameWithExtensions(int64_t target) { return NameOf(target) + "_VNNI"; }

bool HasTiles() {
  const Extensions extensions = Extensions::OfProcessor();
  return extensions.multiply_strip != nullptr || extensions.multiply_stripes != nullptr;
}

bool HasExtensions(int64_t target) { return target == HWY_AVX3 || target == HWY_AVX2; }

void Choose(int64_t targets) {
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().DeInit();
}

absl::StatusOr<std::unique_ptr<kernels::Backend>> MakeByName(const std::string& name) {
  if (name == kEmulated) return kernels::cuda::MakeCudaBackend(0);
  if (name == kGpu) return kernels::LoadCudaBackend(0);
  if (name == kTiles) return kernels::MakeCpuBackend(2);
  if (name == kEmulatedTiles) {
    return kernels::MakeCpuBackend(2, WithEmulatedTiles(Extensions::OfProcessor()));
  }
  bool use_extensions = false;
  for (const int64_t target : CpuTargets()) {
    use_extensions |= name == NameWithExtensions(target);
    if (name == NameOf(target) || name == NameWithExtensions(target)) Choose(target);
  }
  return kernels::MakeCpuBackend(2, use_extensions ? Extensions::OfProcessor() : Extensions{});
}

}  // namespace

std::vector<std::string> CpuBackendNames() {
  std::vector<std::string> names;
  for (const int64_t target : CpuTargets()) {
    names.push_back(NameOf(target));
  }
  if (HasTiles()) names.emplace_back(kTiles);
  return names;
}

std::vector<std::string> BackendNames() {
  std::vector<std::string> names = CpuBackendNames();
  for (std::string& name : CudaBackendNames()) names.push_back(std::move(name));
  return names;
}

std::vector<std::string> ProductBackendNames() {
  std::vector<std::string> names = BackendNames();
  for (const int64_t target : CpuTargets()) {
    if (HasExtensions(target)) names.push_back(NameWithExtensions(target));
    if (target == HWY_AVX3) names.emplace_back(kEmulatedTiles);
  }
  return names;
}

std::vector<std::string> CudaBackendNames() { return {kEmulated, kGpu}; }

void BackendTest::SetUp() {
  auto backend = MakeByName(GetParam());
  // FMA_REQUIRE_GPU: the machine must have a GPU, so its absence is a failure.
  if (GetParam() == kGpu && absl::IsUnavailable(backend.status()) &&
      std::getenv("FMA_REQUIRE_GPU") == nullptr) {
    GTEST_SKIP() << "no GPU: " << backend.status().message();
  }
  ASSERT_TRUE(backend.ok()) << backend.status();
  backend_ = *std::move(backend);
}

void BackendTest::UseThreads(int threads) { backend_ = *kernels::MakeCpuBackend(threads); }

void BackendTest::TearDown() { Choose(0); }

void BackendTest::ExpectSameRows(std::span<const float> a, std::span<const float> b,
                                 float tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    if (IsCuda()) {
      ASSERT_NEAR(a[i], b[i], tolerance) << "at " << i;
    } else {
      ASSERT_EQ(a[i], b[i]) << "at " << i;
    }
  }
}

DeviceMatrix::DeviceMatrix(kernels::Backend& backend, int64_t rows,
                           const std::vector<float>& values)
    : backend_(backend) {
  const auto columns = static_cast<int64_t>(values.size()) / rows;
  auto buffer = backend.Allocate(rows * columns * static_cast<int64_t>(sizeof(float)));
  EXPECT_TRUE(buffer.ok()) << buffer.status();
  buffer_ = *std::move(buffer);
  view_ = {reinterpret_cast<float*>(buffer_->data), rows, columns};
  // Numbers get into a backend's memory as a weight: the rows of an embedding table.
  const kernels::HostLinear table{{.data = reinterpret_cast<const std::byte*>(values.data()),
                                   .format = kernels::WeightFormat::kF32,
                                   .rows = rows,
                                   .cols = columns},
                                  {}};
  const auto packed = backend.PackLinear({&table, 1});
  EXPECT_TRUE(packed.ok()) << packed.status();
  std::vector<int64_t> ids(static_cast<size_t>(rows));
  std::iota(ids.begin(), ids.end(), 0);
  backend.Embed(ids, **packed, /*accumulate=*/false, view_);
  EXPECT_TRUE(backend.EndStep().ok());
}

std::vector<float> DeviceMatrix::Read() const {
  std::vector<float> values(view_.rows * view_.cols);
  EXPECT_TRUE(backend_.CopyToHost(view_, values).ok());
  return values;
}

}  // namespace fmaserver::testing
