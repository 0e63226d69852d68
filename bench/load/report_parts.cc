#include "bench/load/report_parts.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "clients/cpp/output.h"

namespace fmaserver::bench {
namespace {

using nlohmann::json;

json OptionsToJson(const LoadOptions& options) {
  json object = RequestOptionsToJson(options);
  object["concurrency"] = options.Concurrency();
  object["warmup"] = options.warmup_requests;
  object["timeout_seconds"] = options.timeout_seconds;
  if (options.rate) object["rate"] = *options.rate;
  if (options.requests) object["requests"] = *options.requests;
  if (options.duration_seconds) object["duration_seconds"] = *options.duration_seconds;
  if (options.neighbour_of > 0) object["neighbour_of"] = options.neighbour_of;
  if (!options.prefill.empty()) object["prefill"] = options.prefill;
  if (options.conversations > 0) {
    object["conversations"] = options.conversations;
    object["turns"] = options.turns;
    object["think_seconds"] = options.think_seconds;
    object["patience_seconds"] = options.patience_seconds;
  }
  return object;
}

}  // namespace

void Failures::Count(const absl::Status& status) {
  OfCode& of_code = by_code[absl::StatusCodeToString(status.code())];
  if (of_code.count++ == 0) of_code.first_message = std::string(status.message());
}

json RequestOptionsToJson(const LoadOptions& options) {
  json object = {{"prompt_tokens", options.prompt_lengths},
                 {"output_tokens", options.output_lengths},
                 {"prompt_file", options.prompt_file},
                 {"seed", options.seed}};
  if (options.temperature) object["temperature"] = *options.temperature;
  return object;
}

json ReportFrame(const LoadOptions& options, const v1::Model& model) {
  return {{"server",
           {{"address", absl::StrJoin(options.servers, ",")},
            {"model", model.name()},
            {"parameters", model.parameters()},
            {"slot_bytes", model.slot_bytes()},
            {"num_slots", model.num_slots()},
            {"device", model.device()},
            {"version", model.server_version()}}},
          {"options", OptionsToJson(options)}};
}

json ToJson(const Latencies& latencies) {
  return {{"count", latencies.count}, {"mean", latencies.mean}, {"p50", latencies.p50},
          {"p90", latencies.p90},     {"p95", latencies.p95},   {"p99", latencies.p99},
          {"max", latencies.max}};
}

json ToJson(const Failures& failures) {
  json object = json::object();
  for (const auto& [code, failure] : failures.by_code) {
    object[code] = {{"count", failure.count}, {"first_message", failure.first_message}};
  }
  return object;
}

std::string ServerLine(const LoadOptions& options, const v1::Model& model) {
  return absl::StrFormat("server      %s: %s on %s, %s slots of %s\n",
                         absl::StrJoin(options.servers, ", "), model.name(), model.device(),
                         client::WithCommas(model.num_slots()),
                         client::HumanBytes(model.slot_bytes()));
}

std::string HumanSeconds(double seconds) {
  if (seconds >= 1) return absl::StrFormat("%.2f s", seconds);
  return absl::StrFormat("%.*f ms", seconds >= 0.01 ? 1 : 3, seconds * 1e3);
}

std::string LatencyHeader() {
  return absl::StrFormat("\n%-22s%10s%11s%11s%11s%11s%11s%11s\n", "", "count", "mean", "p50", "p90",
                         "p95", "p99", "max");
}

std::string LatencyRow(const char* name, const Latencies& row) {
  return absl::StrFormat("%-22s%10s%11s%11s%11s%11s%11s%11s\n", name, client::WithCommas(row.count),
                         HumanSeconds(row.mean), HumanSeconds(row.p50), HumanSeconds(row.p90),
                         HumanSeconds(row.p95), HumanSeconds(row.p99), HumanSeconds(row.max));
}

std::string ToText(const Failures& failures, const char* what) {
  std::string text;
  for (const auto& [code, failure] : failures.by_code) {
    absl::StrAppendFormat(&text, "%s%s x %s, first: %s\n", what, code,
                          client::WithCommas(failure.count), failure.first_message);
  }
  return text;
}

}  // namespace fmaserver::bench
