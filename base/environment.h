// Settings from the environment.
#pragma once

#include <optional>
#include <string>

namespace fmaserver {

/// The value of a variable. One that is set to nothing counts as unset: that is what files of
/// compose and systemd make of a variable that nobody gave.
std::optional<std::string> FromEnvironment(const std::string& name);

}  // namespace fmaserver
