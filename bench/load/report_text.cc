#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/load/report.h"
#include "clients/cpp/output.h"

namespace fmaserver::bench {
namespace {

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
  absl::StrAppend(&text, "\nthroughput  ", rate(report.succeeded), " requests/s, ",
                  rate(report.prompt_tokens), " prompt tokens/s, ", rate(report.generated_tokens),
                  " generated tokens/s\n", LatencyHeader(),
                  LatencyRow("time to first token", report.time_to_first_token),
                  LatencyRow("inter-token", report.inter_token),
                  LatencyRow("mean time per token", report.time_per_token),
                  LatencyRow("end to end", report.end_to_end), ToText(report.failures));
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
      LatencyHeader(), LatencyRow("inter-token alone", result.alone),
      LatencyRow("inter-token loading", result.loading),
      absl::StrFormat("\nwhile the prompt loads: median %.2f slices, worst %.2f slices\n",
                      result.loading.p50 / result.slice_seconds,
                      result.loading.max / result.slice_seconds));
}

}  // namespace fmaserver::bench
