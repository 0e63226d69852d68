// fma-bench: puts a load on an FMA Server and reports its latencies and throughput.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "bench/load/live_line.h"
#include "bench/load/load.h"
#include "bench/load/neighbour.h"
#include "bench/load/options.h"
#include "bench/load/report.h"
#include "clients/cpp/client.h"
#include "clients/cpp/interrupt.h"
#include "clients/cpp/output.h"
#include "command_line/output.h"
#include "command_line/parse.h"
#include "command_line/process.h"

namespace fmaserver::bench {
namespace {

constexpr double kConnectSeconds = 10;
constexpr int64_t kDefaultRequests = 100;
constexpr double kDefaultAloneSeconds = 5;

/// The whole tool, from the parsed options to the exit code.
class Bench {
 public:
  explicit Bench(const LoadOptions& options)
      : options_(options),
        interrupt_([this] { group_.Cancel(); }),
        client_(client::MakeClient(options.server)) {}

  int Run() {
    auto source = Prepare();
    if (!source.ok()) return Fail(source.status());
    return options_.neighbour_of > 0 ? Neighbour(*source) : Load(*source);
  }

 private:
  absl::StatusOr<RequestSource> Prepare() {
    GroupedCall call(group_, kConnectSeconds);
    v1::GetModelRequest request;
    request.set_model(options_.server.model);
    auto model = client_.GetModel(call.context(), request);
    if (!model.ok()) return model.status();
    model_ = *std::move(model);
    if (options_.prompt_file.empty()) {
      return RequestSource(options_, PromptSource::RandomIds(model_.vocab_size()));
    }
    auto prompts = PromptSource::FromFile(options_.prompt_file, options_.server.model, client_);
    if (!prompts.ok()) return prompts.status();
    return RequestSource(options_, *std::move(prompts));
  }

  int Load(const RequestSource& source) {
    LoadPlan plan{.concurrency = options_.Concurrency(),
                  .requests = options_.warmup_requests,
                  .first_number = -options_.warmup_requests,
                  .timeout_seconds = options_.timeout_seconds,
                  .seed = options_.seed};
    LiveCounts warm_live;
    RunLoad(plan, source, client_, group_, warm_live);

    plan.rate = options_.rate;
    plan.first_number = 0;
    plan.requests = options_.requests.value_or(
        options_.duration_seconds ? std::numeric_limits<int64_t>::max() : kDefaultRequests);
    if (options_.duration_seconds) plan.duration_seconds = *options_.duration_seconds;
    LiveCounts live;
    LoadResult result;
    {
      const LiveLine line(live);
      result = RunLoad(plan, source, client_, group_, live);
    }
    const BenchReport report = BenchReport::Of(result, group_.Cancelled());
    const int code = Publish(report);
    return code == client::kDone && report.succeeded == 0 ? client::kRefused : code;
  }

  int Neighbour(const RequestSource& source) {
    const auto result =
        RunNeighbour({.prompt_tokens = options_.neighbour_of,
                      .streams = options_.Concurrency(),
                      .alone_seconds = options_.duration_seconds.value_or(kDefaultAloneSeconds)},
                     source, client_, group_);
    return result.ok() ? Publish(*result) : Fail(result.status());
  }

  template <class Report>
  int Publish(const Report& report) const {
    WriteOutput(ToText(report, options_, model_));
    if (!options_.json_file.empty()) {
      std::ofstream file(options_.json_file);
      file << ToJson(report, options_, model_).dump(2) << '\n';
      if (!file.flush()) {
        return client::ReportLost(absl::UnavailableError(
            absl::StrCat("cannot write the report to ", options_.json_file)));
      }
    }
    return interrupt_.Happened() ? client::kInterrupted : client::kDone;
  }

  int Fail(const absl::Status& status) const {
    return interrupt_.Happened() ? client::kInterrupted
                                 : client::ReportFailure(status, options_.server.server);
  }

  const LoadOptions& options_;
  CallGroup group_;
  client::Interrupt interrupt_;  // before client_: see client::Interrupt
  client::Client client_;
  v1::Model model_;
};

}  // namespace
}  // namespace fmaserver::bench

int main(int argc, char** argv) {
  fmaserver::PrepareProcess();
  fmaserver::bench::LoadOptions options;
  CLI::App app("fma-bench - put a load on an FMA Server and measure it");
  fmaserver::bench::AddLoadOptions(app, options);
  if (const auto code = fmaserver::ParseCommandLine(app, argc, argv)) return *code;
  return fmaserver::FinishOutput(fmaserver::bench::Bench(options).Run());
}
