// What lies in the place of a file that git-lfs has not fetched.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace fmaserver::model {

/// FAILED_PRECONDITION, with what to do, when `bytes` are those of a git-lfs pointer; `origin`
/// names the file.
absl::Status RefuseLfsPointer(std::string_view bytes, std::string_view origin);

}  // namespace fmaserver::model
