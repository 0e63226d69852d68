#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/load/report.h"
#include "clients/cpp/output.h"

namespace fmaserver::bench {
namespace {

/// "12.3 ms", "0.045 ms", "2.31 s"
std::string HumanSeconds(double seconds) {
  if (seconds >= 1) return absl::StrFormat("%.2f s", seconds);
  return absl::StrFormat("%.*f ms", seconds >= 0.01 ? 1 : 3, seconds * 1e3);
}

std::string Header() {
  return absl::StrFormat("\n%-22s%10s%11s%11s%11s%11s%11s%11s\n", "", "count", "mean", "p50", "p90",
                         "p95", "p99", "max");
}

std::string Row(const char* name, const Latencies& row) {
  return absl::StrFormat("%-22s%10s%11s%11s%11s%11s%11s%11s\n", name, client::WithCommas(row.count),
                         HumanSeconds(row.mean), HumanSeconds(row.p50), HumanSeconds(row.p90),
                         HumanSeconds(row.p95), HumanSeconds(row.p99), HumanSeconds(row.max));
}

std::string ServerLine(const LoadOptions& options, const v1::Model& model) {
  return absl::StrFormat("server      %s: %s on %s, %s slots of %s\n", options.server.server,
                         model.name(), model.device(), client::WithCommas(model.num_slots()),
                         client::HumanBytes(model.slot_bytes()));
}

std::string LoadLine(const LoadOptions& options) {
  const std::string arrivals =
      options.rate ? absl::StrFormat(
                         "open loop, %g arrivals a second, at most %d "
                         "at once",
                         *options.rate, options.Concurrency())
                   : absl::StrFormat("closed loop, %d at once", options.Concurrency());
  return absl::StrFormat("load        %s; prompt %s, output %s; seed %d\n", arrivals,
                         options.prompt_lengths, options.output_lengths, options.seed);
}

}  // namespace

std::string ToText(const BenchReport& report, const LoadOptions& options, const v1::Model& model) {
  std::string text = absl::StrCat(ServerLine(options, model), LoadLine(options));
  absl::StrAppendFormat(&text, "requests    %s succeeded, %s failed in %.2f s",
                        client::WithCommas(report.succeeded), client::WithCommas(report.failed),
                        report.seconds);
  if (report.interrupted > 0) {
    absl::StrAppend(&text, "; ", client::WithCommas(report.interrupted), " interrupted");
  }
  if (report.late > 0) {
    absl::StrAppend(&text, "; ", client::WithCommas(report.late),
                    " sent late: raise --concurrency to keep to the rate");
  }
  const auto rate = [&](auto count) {
    return client::HumanRate(static_cast<double>(count) / report.seconds);
  };
  absl::StrAppend(
      &text, "\nthroughput  ", rate(report.succeeded), " requests/s, ", rate(report.prompt_tokens),
      " prompt tokens/s, ", rate(report.generated_tokens), " generated tokens/s\n", Header(),
      Row("time to first token", report.time_to_first_token),
      Row("inter-token", report.inter_token), Row("mean time per token", report.time_per_token),
      Row("end to end", report.end_to_end));
  for (const auto& [code, failure] : report.failures) {
    absl::StrAppendFormat(&text, "%s x %s, first: %s\n", code, client::WithCommas(failure.count),
                          failure.first_message);
  }
  return text;
}

std::string ToText(const NeighbourResult& result, const LoadOptions& options,
                   const v1::Model& model) {
  return absl::StrCat(
      ServerLine(options, model),
      absl::StrFormat("prompt      %s tokens, read in %.2f s beside %d streams\n",
                      client::WithCommas(options.neighbour_of), result.load_seconds,
                      options.Concurrency()),
      absl::StrFormat("slice       %s tokens in %s when read alone\n",
                      client::WithCommas(result.slice_tokens), HumanSeconds(result.slice_seconds)),
      Header(), Row("inter-token alone", result.alone), Row("inter-token loading", result.loading),
      absl::StrFormat("\nwhile the prompt loads: median %.2f slices, worst %.2f slices\n",
                      result.loading.p50 / result.slice_seconds,
                      result.loading.max / result.slice_seconds));
}

}  // namespace fmaserver::bench
