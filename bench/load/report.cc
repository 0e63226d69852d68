#include "bench/load/report.h"

#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace fmaserver::bench {
namespace {

using nlohmann::json;

/// The measurements from which a report is made.
struct Samples {
  std::vector<double> first;
  std::vector<double> gaps;
  std::vector<double> per_token;
  std::vector<double> whole;

  void Add(const StreamRecord& record) {
    const std::vector<double>& deltas = record.deltas;
    whole.push_back(record.end - record.due);
    if (deltas.empty()) return;
    first.push_back(deltas.front() - record.due);
    for (size_t i = 1; i < deltas.size(); ++i) gaps.push_back(deltas[i] - deltas[i - 1]);
    if (record.generated_tokens > 1) {
      per_token.push_back((deltas.back() - deltas.front()) /
                          static_cast<double>(record.generated_tokens - 1));
    }
  }
};

}  // namespace

BenchReport BenchReport::Of(const LoadResult& result, bool interrupted) {
  BenchReport report;
  report.late = result.late;
  report.seconds = result.seconds;
  Samples samples;
  for (const StreamRecord& record : result.records) {
    report.generated_tokens += record.generated_tokens;
    if (record.status.ok()) {
      ++report.succeeded;
      report.prompt_tokens += record.usage.prompt_tokens();
      samples.Add(record);
    } else if (interrupted && absl::IsCancelled(record.status)) {
      ++report.interrupted;
    } else {
      ++report.failed;
      report.failures.Count(record.status);
    }
  }
  report.time_to_first_token = Latencies::Of(std::move(samples.first));
  report.inter_token = Latencies::Of(std::move(samples.gaps));
  report.time_per_token = Latencies::Of(std::move(samples.per_token));
  report.end_to_end = Latencies::Of(std::move(samples.whole));
  return report;
}

json ToJson(const BenchReport& report, const LoadOptions& options, const v1::Model& model) {
  json object = ReportFrame(options, model);
  object["seconds"] = report.seconds;
  object["requests"] = {{"succeeded", report.succeeded},
                        {"failed", report.failed},
                        {"interrupted", report.interrupted},
                        {"late", report.late}};
  object["tokens"] = {{"prompt", report.prompt_tokens}, {"generated", report.generated_tokens}};
  const auto rate = [&](auto count) { return static_cast<double>(count) / report.seconds; };
  object["throughput"] = {{"requests_per_second", rate(report.succeeded)},
                          {"prompt_tokens_per_second", rate(report.prompt_tokens)},
                          {"generated_tokens_per_second", rate(report.generated_tokens)}};
  object["latency_seconds"] = {{"time_to_first_token", ToJson(report.time_to_first_token)},
                               {"inter_token", ToJson(report.inter_token)},
                               {"time_per_token", ToJson(report.time_per_token)},
                               {"end_to_end", ToJson(report.end_to_end)}};
  object["failures"] = ToJson(report.failures);
  return object;
}

json ToJson(const NeighbourResult& result, const LoadOptions& options, const v1::Model& model) {
  json object = ReportFrame(options, model);
  object["slice"] = {{"tokens", result.slice_tokens}, {"seconds", result.slice_seconds}};
  object["load_seconds"] = result.load_seconds;
  object["inter_token_seconds"] = {{"alone", ToJson(result.alone)},
                                   {"loading", ToJson(result.loading)}};
  object["loading_over_slice"] = {{"median", result.loading.p50 / result.slice_seconds},
                                  {"worst", result.loading.max / result.slice_seconds}};
  return object;
}

}  // namespace fmaserver::bench
