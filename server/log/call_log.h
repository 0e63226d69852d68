// One line for each call.
#pragma once

#include <string>

#include "server/log/log.h"
#include "server/service/call_report.h"

namespace fmaserver::log {

/// Name of spdlog's logger for calls, which the JSON format knows.
inline constexpr char kCallLogger[] = "call";

class CallLog final : public service::CallObserver {
 public:
  explicit CallLog(LogFormat format) : format_(format) {}

  void OnCall(const service::CallReport& report) override;

  /// `key=value` pairs, or the fields of a JSON object without its braces.
  static std::string Line(const service::CallReport& report, LogFormat format);

 private:
  const LogFormat format_;
};

}  // namespace fmaserver::log
