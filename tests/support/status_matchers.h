// What a refusal must say.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"

namespace fmaserver::testing {

/// Expects INVALID_ARGUMENT with a message that contains every one of `parts`.
inline void ExpectRefusal(const absl::Status& status, const std::vector<std::string>& parts) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  for (const std::string& part : parts) {
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(part));
  }
}

}  // namespace fmaserver::testing
