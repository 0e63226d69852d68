// What a served model is called, and where it comes from.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace fmaserver::models {

struct ModelSource {
  std::string name;  ///< IsName()
  std::filesystem::path folder;
  std::vector<std::string> aliases = {};  ///< other names that requests may use
};

/// A model without a name is called after its folder: every byte that no name may hold becomes _,
/// and a longer name is cut. "models/tiny/" and "." have names too. INVALID_ARGUMENT for a given
/// name that is not a name (IsName).
absl::StatusOr<ModelSource> MakeSource(std::string name, std::filesystem::path folder);

/// "[NAME=]DIR". What is before the first = is a name only if it could be one. Of NAME and `names`
/// the first is the model's name and the others are its aliases, which may hold . / and : too.
absl::StatusOr<ModelSource> ParseSource(const std::string& text,
                                        std::vector<std::string> names = {});

}  // namespace fmaserver::models
