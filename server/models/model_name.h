// What a served model is called, and where it comes from.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"

namespace fmaserver::models {

struct ModelSource {
  std::string name;  ///< IsName()
  std::filesystem::path folder;
};

/// A model without a name is called after its folder: every byte that no name may hold becomes _,
/// and a longer name is cut. "models/tiny/" and "." have names too. INVALID_ARGUMENT for a given
/// name that is not a name (IsName).
absl::StatusOr<ModelSource> MakeSource(std::string name, std::filesystem::path folder);

/// "[NAME=]DIR". The part before the first = is a name only if it could be one.
absl::StatusOr<ModelSource> ParseSource(const std::string& text);

}  // namespace fmaserver::models
