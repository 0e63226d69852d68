// The names of files in a session directory.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "base/names.h"

namespace fmaserver::sessions {

inline constexpr std::string_view kRecordSuffix = ".session";
inline constexpr std::string_view kStateSuffix = ".state";
inline constexpr std::string_view kDamagedSuffix = ".damaged";
inline constexpr std::string_view kScratchPrefix = ".writer-";

/// The session whose record has this file name, or empty.
inline std::string SessionOfRecord(std::string_view file_name) {
  if (!file_name.ends_with(kRecordSuffix)) return {};
  file_name.remove_suffix(kRecordSuffix.size());
  return IsName(file_name) ? std::string(file_name) : std::string();
}

/// Renames a damaged file and logs why.
void SetAside(const std::filesystem::path& file, const absl::Status& why);

}  // namespace fmaserver::sessions
