// The backends that the suite runs on: the CPU once per instruction set that this machine has.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"

namespace fmaserver::testing {

/// Names of the variants, for example "cpu_AVX3".
std::vector<std::string> BackendNames();

/// A test on one variant with two threads; the choice of instruction set ends with the test.
class BackendTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override;
  void TearDown() override;

  Backend& backend() { return *backend_; }

 private:
  std::unique_ptr<Backend> backend_;
};

#define FMA_ON_EVERY_BACKEND(suite)                                              \
  INSTANTIATE_TEST_SUITE_P(Backends, suite, ::testing::ValuesIn(BackendNames()), \
                           [](const auto& name) { return name.param; })

}  // namespace fmaserver::testing
