// The names of files in a session directory.
#pragma once

#include <string>
#include <string_view>

#include "base/names.h"

namespace fmaserver::sessions {

inline constexpr std::string_view kRecordSuffix = ".session";
inline constexpr std::string_view kSlotSuffix = ".state";
inline constexpr std::string_view kVolumeSuffix = ".chunks";
inline constexpr std::string_view kDamagedSuffix = ".damaged";
inline constexpr std::string_view kScratchPrefix = ".writer-";

/// The session whose record has this file name, or empty.
inline std::string SessionOfRecord(std::string_view file_name) {
  if (!file_name.ends_with(kRecordSuffix)) return {};
  file_name.remove_suffix(kRecordSuffix.size());
  return IsName(file_name) ? std::string(file_name) : std::string();
}

/// The session whose record was set aside under this file name, or empty.
inline std::string SessionOfDamagedRecord(std::string_view file_name) {
  if (!file_name.ends_with(kDamagedSuffix)) return {};
  file_name.remove_suffix(kDamagedSuffix.size());
  return SessionOfRecord(file_name);
}

/// The session that the name of a slot's or a volume's file says it belongs to, or empty.
inline std::string SessionOfItem(std::string_view file_name) {
  if (!file_name.ends_with(kSlotSuffix) && !file_name.ends_with(kVolumeSuffix)) return {};
  const std::string_view session = file_name.substr(0, file_name.find('.'));
  return IsName(session) ? std::string(session) : std::string();
}

}  // namespace fmaserver::sessions
