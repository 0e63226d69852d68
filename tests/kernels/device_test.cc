// Devices by name, and the CUDA backend as a library that may be missing, broken or from another
// build.
#include "kernels/device.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <future>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cuda_library.h"
#include "tests/support/paths.h"

namespace fmaserver::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kEmulatedLibrary = BinDir() / "libfma_cuda_emulated.so";

/// Sets FMA_CUDA_LIBRARY for one test.
class DeviceTest : public ::testing::Test {
 protected:
  void UseLibrary(const std::string& path) { setenv("FMA_CUDA_LIBRARY", path.c_str(), 1); }
  void TearDown() override { unsetenv("FMA_CUDA_LIBRARY"); }
};

TEST_F(DeviceTest, KnowsItsNames) {
  for (const char* name : {"auto", "cpu", "cuda:0", "cuda:7", "cuda:255"}) {
    EXPECT_TRUE(kernels::CheckDeviceName(name).ok()) << name;
  }
  for (const char* name : {"", "CPU", "cuda", "cuda:", "cuda:-1", "cuda:+1", "cuda:256", "cuda:1x",
                           "cuda: 1", "cuda:99999999999", "gpu"}) {
    EXPECT_EQ(kernels::CheckDeviceName(name).code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST_F(DeviceTest, CpuNeedsNoLibrary) {
  UseLibrary("/nonexistent/library.so");
  const auto chosen = kernels::MakeBackend("cpu", 1);
  ASSERT_TRUE(chosen.ok());
  EXPECT_THAT(chosen->backend->Description(), StartsWith("cpu"));
  EXPECT_EQ(chosen->why, "");
}

/// Computes products with a matrix of ones, step by step; returns whether all were right.
bool MultiplyInSteps(kernels::Backend& backend, int steps) {
  constexpr int64_t kSize = 200;
  const std::vector<float> ones(kSize * kSize, 1.0F);
  const kernels::HostLinear host{.weight = {reinterpret_cast<const std::byte*>(ones.data()),
                                            kernels::WeightFormat::kF32, kSize, kSize},
                                 .bias = {}};
  const auto weights = backend.PackLinear({&host, 1});
  if (!weights.ok()) return false;
  std::vector<float> x(kSize, 1.0F);
  std::vector<float> y(kSize);
  for (int step = 0; step < steps; ++step) {
    backend.BeginStep({}, {});
    backend.Linear({x.data(), 1, kSize}, **weights, /*accumulate=*/false, {y.data(), 1, kSize});
    if (!backend.EndStep().ok()) return false;
    if (y != std::vector<float>(kSize, kSize)) return false;
    std::ranges::fill(y, 0.0F);
  }
  return true;
}

TEST_F(DeviceTest, BackendsOfOneProgramTakeTurnsOnItsThreads) {
  constexpr int kSteps = 500;
  kernels::Devices devices(3);
  const auto first = devices.MakeBackend("cpu");
  const auto second = devices.MakeBackend("cpu");
  ASSERT_TRUE(first.ok() && second.ok());
  auto beside =
      std::async(std::launch::async, [&] { return MultiplyInSteps(*first->backend, kSteps); });
  EXPECT_TRUE(MultiplyInSteps(*second->backend, kSteps));
  EXPECT_TRUE(beside.get());
}

TEST_F(DeviceTest, AutoSaysWhyThereIsNoGpu) {
  UseLibrary("/nonexistent/library.so");
  const auto chosen = kernels::MakeBackend("auto", 1);
  ASSERT_TRUE(chosen.ok());
  EXPECT_THAT(chosen->backend->Description(), StartsWith("cpu"));
  EXPECT_THAT(chosen->why, HasSubstr("/nonexistent/library.so"));
  const auto cuda = kernels::MakeBackend("cuda:0", 1);
  EXPECT_EQ(cuda.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(cuda.status().message(), HasSubstr("/nonexistent/library.so"));
}

TEST_F(DeviceTest, RefusesALibraryThatIsNoBackend) {
  UseLibrary("libm.so.6");
  const auto cuda = kernels::MakeBackend("cuda:0", 1);
  EXPECT_EQ(cuda.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(cuda.status().message(), HasSubstr(kernels::kCudaEntryName));
}

TEST_F(DeviceTest, TakesALibraryOfThisBuild) {
  UseLibrary(kEmulatedLibrary);
  for (const char* name : {"auto", "cuda:0"}) {
    const auto chosen = kernels::MakeBackend(name, 1);
    ASSERT_TRUE(chosen.ok()) << chosen.status();
    EXPECT_THAT(chosen->backend->Description(), StartsWith("cuda:0, block emulator"));
    EXPECT_EQ(chosen->why, "");
  }
}

TEST_F(DeviceTest, SaysThatThereIsNoSuchGpu) {
  UseLibrary(kEmulatedLibrary);
  const auto cuda = kernels::MakeBackend("cuda:1", 1);
  EXPECT_EQ(cuda.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(cuda.status().message(), HasSubstr("device cuda:1: there is no GPU 1"));
}

TEST_F(DeviceTest, RefusesAnotherBuildsLibrary) {
  void* library = dlopen(kEmulatedLibrary.c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  auto* entry = reinterpret_cast<kernels::CudaEntry*>(dlsym(library, kernels::kCudaEntryName));
  ASSERT_NE(entry, nullptr);
  kernels::Backend* backend = nullptr;
  std::array<char, 20> message;
  message.fill('x');
  EXPECT_EQ(entry("another", 0, &backend, message.data(), message.size()),
            static_cast<int>(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(backend, nullptr);
  EXPECT_EQ(std::string(message.data()), "libfma_cuda.so is o");  // cut to fit
  EXPECT_EQ(dlsym(library, "_ZN9fmaserver4cuda15MakeCudaBackendEi"), nullptr) << "shows too much";
}

}  // namespace
}  // namespace fmaserver::testing
