#include "tests/kernels/backends.h"

#include <cstdint>

#include "hwy/targets.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/simd.h"

namespace fmaserver::testing {
namespace {

/// Every target that the kernels are compiled for and this processor has.
std::vector<int64_t> CpuTargets() {
  std::vector<int64_t> targets;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if ((target & HWY_DISABLED_TARGETS) == 0) targets.push_back(target);
  }
  return targets;
}

void Choose(int64_t targets) {
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().DeInit();
}

}  // namespace

std::vector<std::string> BackendNames() {
  std::vector<std::string> names;
  for (const int64_t target : CpuTargets()) {
    names.push_back(std::string("cpu_") + hwy::TargetName(target));
  }
  return names;
}

void BackendTest::SetUp() {
  for (const int64_t target : CpuTargets()) {
    if (GetParam() == std::string("cpu_") + hwy::TargetName(target)) Choose(target);
  }
  auto backend = MakeCpuBackend(2);
  ASSERT_TRUE(backend.ok()) << backend.status();
  backend_ = *std::move(backend);
}

void BackendTest::TearDown() { Choose(0); }

}  // namespace fmaserver::testing
