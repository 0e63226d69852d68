#include "clients/cpp/output.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "command_line/output.h"

namespace fmaserver::client {
namespace {

void PrintError(absl::string_view message) {
  absl::FPrintF(stderr, "%s: %s\n", program_invocation_short_name, message);
}

}  // namespace

std::string WithCommas(uint64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(at, 1, ',');
  return digits;
}

std::string HumanBytes(uint64_t bytes) {
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  double value = static_cast<double>(bytes);
  const char* unit = "";
  for (const char* larger : {"KiB", "MiB", "GiB", "TiB"}) {
    if (value < 1024) break;
    value /= 1024;
    unit = larger;
  }
  return absl::StrFormat("%.1f %s", value, unit);
}

std::string HumanRate(double per_second) {
  return per_second < 100 ? absl::StrFormat("%.1f", per_second)
                          : WithCommas(static_cast<uint64_t>(std::llround(per_second)));
}

ExitCode ReportUsage(const absl::Status& status) {
  PrintError(status.message());
  return kWrongUsage;
}

ExitCode ReportLost(const absl::Status& status) {
  PrintError(status.message());
  return kOutputLost;
}

ExitCode ReportFailure(const absl::Status& status, const std::string& server) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      PrintError(absl::StrCat(
          "the server at ", server, " is not available: ", status.message(),
          "\nStart one with `fma-server --model DIR`, or name another with --server HOST:PORT or "
          "in the environment as FMA_SERVER."));
      return kUnreachable;
    case absl::StatusCode::kUnimplemented:
      PrintError(absl::StrCat("the server at ", server,
                              " is no FMA Server, or an older one: ", status.message()));
      return kRefused;
    default:
      PrintError(absl::StrCat("the server refused the request (",
                              absl::StatusCodeToString(status.code()), "): ", status.message()));
      return kRefused;
  }
}

bool PrintJsonLine(const nlohmann::json& object) {
  return WriteOutput(object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace fmaserver::client
