// fma-bench: puts a load on an FMA Server and reports its latencies and throughput.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/refusal.h"
#include "bench/load/answers.h"
#include "bench/load/conversations.h"
#include "bench/load/conversations_report.h"
#include "bench/load/faults.h"
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
/// A conversation was lost or different, or a fault did not do what it should.
constexpr int kNotAsExpected = 1;

/// OK when every conversation ended well and said the same whenever it said something again.
absl::Status WhyLost(const ConversationsResult& undisturbed) {
  for (const ConversationRecord& record : undisturbed.records) {
    const std::string place = absl::StrCat("the undisturbed run: conversation ", record.number);
    if (!record.status.ok()) return At(place, record.status);
    if (record.difference) return At(place, absl::DataLossError(record.difference->what));
  }
  return absl::OkStatus();
}

std::vector<client::Client> MakeClients(const LoadOptions& options,
                                        const std::vector<std::string>& addresses) {
  std::vector<client::Client> clients;
  client::ServerOptions one = options.access;
  for (const std::string& address : addresses) {
    one.server = address;
    clients.push_back(client::MakeClient(one));
  }
  return clients;
}

/// The whole tool, from the parsed options to the exit code.
class Bench {
 public:
  explicit Bench(const LoadOptions& options)
      : options_(options),
        interrupt_([this] { group_.Cancel(); }),
        clients_(MakeClients(options, options.servers)) {
    if (!options.prefill.empty()) prefill_ = MakeClients(options, {options.prefill});
  }

  int Run() {
    auto source = Prepare();
    if (!source.ok()) return Fail(source.status());
    if (options_.conversations > 0) return Conversations(*source);
    return options_.neighbour_of > 0 ? Neighbour(*source) : Load(*source);
  }

 private:
  absl::StatusOr<RequestSource> Prepare() {
    GroupedCall call(group_, kConnectSeconds);
    v1::GetModelRequest request;
    request.set_model(options_.access.model);
    auto model = clients_.front().GetModel(call.context(), request);
    if (!model.ok()) return model.status();
    model_ = *std::move(model);
    if (options_.prompt_file.empty()) {
      return RequestSource(options_, PromptSource::RandomIds(model_.vocab_size()));
    }
    auto prompts =
        PromptSource::FromFile(options_.prompt_file, options_.access.model, clients_.front());
    if (!prompts.ok()) return prompts.status();
    return RequestSource(options_, *std::move(prompts));
  }

  Servers servers() {
    return {.clients = clients_, .prefill = prefill_.empty() ? nullptr : &prefill_.front()};
  }

  int Load(const RequestSource& source) {
    LoadPlan plan{.concurrency = options_.Concurrency(),
                  .requests = options_.warmup_requests,
                  .first_number = -options_.warmup_requests,
                  .timeout_seconds = options_.timeout_seconds,
                  .seed = options_.seed};
    LiveCounts warm_live;
    RunLoad(plan, source, servers(), group_, warm_live);

    plan.rate = options_.rate;
    plan.first_number = 0;
    plan.requests = options_.requests.value_or(
        options_.duration_seconds ? std::numeric_limits<int64_t>::max() : kDefaultRequests);
    if (options_.duration_seconds) plan.duration_seconds = *options_.duration_seconds;
    LiveCounts live;
    LoadResult result;
    {
      const LiveLine line(live);
      result = RunLoad(plan, source, servers(), group_, live);
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
                     source, servers(), group_);
    return result.ok() ? Publish(*result) : Fail(result.status());
  }

  int Conversations(const RequestSource& source) {
    const auto faults = ReadFaults(options_.fault_file);
    if (!faults.ok()) return client::ReportUsage(faults.status());
    std::vector<Answers> expected;
    const bool known = std::filesystem::exists(options_.reference_file);
    if (const auto failed = known ? ReadReference(expected) : RunReference(source, expected)) {
      return *failed;
    }
    const auto report =
        ConversationsReport::Of(Converse(source, expected, *faults), group_.Cancelled());
    const int code = Publish(report);
    return code == client::kDone && !report.Good() ? kNotAsExpected : code;
  }

  /// These two fill `expected`; an exit code where they cannot.
  std::optional<int> ReadReference(std::vector<Answers>& expected) const {
    auto answers = ReadAnswers(options_.reference_file, AnswersDependOn(),
                               static_cast<size_t>(options_.conversations),
                               static_cast<size_t>(options_.turns));
    if (!answers.ok()) return client::ReportUsage(answers.status());
    expected = *std::move(answers);
    return std::nullopt;
  }
  std::optional<int> RunReference(const RequestSource& source, std::vector<Answers>& expected) {
    const ConversationsResult undisturbed = Converse(source, {}, {});
    if (absl::Status lost = WhyLost(undisturbed); !lost.ok()) return Fail(lost);
    for (const ConversationRecord& record : undisturbed.records) {
      expected.push_back(record.answers);
    }
    if (options_.reference_file.empty()) return std::nullopt;
    absl::Status written = WriteAnswers(options_.reference_file, AnswersDependOn(), expected);
    if (!written.ok()) return client::ReportLost(written);
    return std::nullopt;
  }

  ConversationsResult Converse(const RequestSource& source, const std::vector<Answers>& expected,
                               const std::vector<Fault>& faults) {
    const bool limited = options_.timeout_seconds > 0;
    const ConversationPlan plan{
        .turns = options_.turns,
        .think_seconds = options_.think_seconds,
        .call_seconds = limited ? options_.timeout_seconds : options_.patience_seconds,
        .patience_seconds = options_.patience_seconds,
        .seed = options_.seed,
        .model = options_.access.model};
    LiveCounts live;
    const LiveLine line(live);
    return RunConversations(plan, static_cast<size_t>(options_.conversations), source, servers(),
                            expected, faults, group_, live);
  }

  nlohmann::json AnswersDependOn() const {
    nlohmann::json object = RequestOptionsToJson(options_);
    object["model"] = model_.name();
    object["turns"] = options_.turns;
    return object;
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
    return interrupt_.Happened()
               ? client::kInterrupted
               : client::ReportFailure(status, absl::StrJoin(options_.servers, ", "));
  }

  const LoadOptions& options_;
  CallGroup group_;
  client::Interrupt interrupt_;  // before the clients: see client::Interrupt
  std::vector<client::Client> clients_;
  std::vector<client::Client> prefill_;  // one at most
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
