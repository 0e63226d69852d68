// The text of a config file as keys with their values, and back: see config_file.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace fmaserver {

struct ConfigEntry {
  std::string key;
  std::vector<std::string> values;  ///< one, or those of a list
  int line = 0;                     ///< from 1
};

/// INVALID_ARGUMENT names the line.
absl::StatusOr<std::vector<ConfigEntry>> ParseConfigText(std::string_view text);

/// A value as ParseConfigText() reads it back, whatever bytes it has.
std::string ConfigValue(std::string_view value);

}  // namespace fmaserver
