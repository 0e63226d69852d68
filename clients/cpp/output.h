// What the tool prints and how it ends: exit codes, error messages, numbers for people, JSON lines.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/status.h"
#include "command_line/exit_code.h"

namespace fmaserver::client {

enum ExitCode : int {
  kDone = 0,
  kOutputLost = fmaserver::kOutputLost,
  kWrongUsage = fmaserver::kWrongUsage,
  kRefused = 3,
  kUnreachable = 4,
  kInterrupted = 130,
};

/// "1,234,567"
std::string WithCommas(uint64_t number);

/// "512 B", "1.9 MiB"
std::string HumanBytes(uint64_t bytes);

/// "84.2"; "1,234" from a hundred on
std::string HumanRate(double per_second);

/// Prints a message for wrong use of the command line to standard error.
ExitCode ReportUsage(const absl::Status& status);

/// Prints why a file could not be written to standard error.
ExitCode ReportLost(const absl::Status& status);

/// Prints what went wrong with a call to `server`, and what to try, to standard error.
ExitCode ReportFailure(const absl::Status& status, const std::string& server);

/// Prints one JSON object on a line of standard output, U+FFFD where a string is not UTF-8. False
/// as of WriteOutput().
bool PrintJsonLine(const nlohmann::json& object);

}  // namespace fmaserver::client
