// What all reports have: who was measured, latencies, failures; as JSON and as text.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "bench/load/latencies.h"
#include "bench/load/options.h"
#include "fma/v1/generation.pb.h"

namespace fmaserver::bench {

/// How calls failed, by the name of the status code.
struct Failures {
  struct OfCode {
    int64_t count = 0;
    std::string first_message;
  };
  std::map<std::string, OfCode> by_code;

  void Count(const absl::Status& status);
};

/// {"server": ..., "options": ...}
nlohmann::json ReportFrame(const LoadOptions& options, const v1::Model& model);
/// What the tokens of conversations depend on.
nlohmann::json RequestOptionsToJson(const LoadOptions& options);
nlohmann::json ToJson(const Latencies& latencies);
nlohmann::json ToJson(const Failures& failures);

std::string ServerLine(const LoadOptions& options, const v1::Model& model);
/// "12.3 ms", "0.045 ms", "2.31 s"
std::string HumanSeconds(double seconds);
std::string LatencyHeader();
std::string LatencyRow(const char* name, const Latencies& row);
/// A line for each code; `what` is before it.
std::string ToText(const Failures& failures, const char* what = "");

}  // namespace fmaserver::bench
