// fma score: log-probabilities of a given text.
#include <cmath>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_format.h"
#include "clients/cpp/commands.h"
#include "clients/cpp/connection.h"
#include "clients/cpp/input.h"
#include "clients/cpp/output.h"
#include "clients/cpp/shown_token.h"
#include "clients/cpp/token_json.h"
#include "command_line/numbers.h"
#include "command_line/output.h"

namespace fmaserver::client {
namespace {

using nlohmann::json;

constexpr char kScoreFooter[] = R"(
Prints the total, its mean per token and the perplexity; with --tokens or --top-logprobs also a line
for each token: id, log-probability, the token, and the alternatives.

Examples:
  fma score "The cat sat on the mat"
  fma score --prompt-file chapter.txt --json | jq .logprob)";

struct ScoreOptions {
  ConnectionOptions connection;
  InputOptions input;
  uint32_t top_logprobs = 0;
  bool no_archive = false;
  bool tokens = false;
};

json ToJson(const v1::ScoreSummary& summary) {
  return {{"event", "summary"},
          {"scored_tokens", summary.scored_tokens()},
          {"total_logprob", summary.total_logprob()},
          {"seconds", summary.seconds()}};
}

std::string TokenLine(const v1::TokenScore& score) {
  std::string line = absl::StrFormat(
      "%7d  %9s  %s", score.token_id(),
      score.has_logprob() ? absl::StrFormat("%.4f", score.logprob()) : std::string("-"),
      Shown(score));
  for (const v1::TokenLogprob& top : score.top()) {
    absl::StrAppendFormat(&line, "  %s %.4f", Shown(top), top.logprob());
  }
  return line + "\n";
}

std::string SummaryLine(const v1::ScoreSummary& summary) {
  const auto scored = static_cast<double>(summary.scored_tokens());
  std::string line = absl::StrFormat("scored %s tokens, total log-probability %.4f",
                                     WithCommas(summary.scored_tokens()), summary.total_logprob());
  if (scored > 0) {
    const double mean = summary.total_logprob() / scored;
    absl::StrAppendFormat(&line, ", mean %.4f, perplexity %.4g", mean, std::exp(-mean));
  }
  return line + "\n";
}

bool PrintJson(const v1::ScoreResponse& response) {
  for (const v1::TokenScore& score : response.scores().tokens()) {
    if (!PrintJsonLine(TokenScoreToJson("token", score))) return false;
  }
  return !response.has_summary() || PrintJsonLine(ToJson(response.summary()));
}

bool PrintPlain(const v1::ScoreResponse& response, bool tokens) {
  std::string text;
  if (tokens) {
    for (const v1::TokenScore& score : response.scores().tokens()) text += TokenLine(score);
  }
  if (response.has_summary()) text += SummaryLine(response.summary());
  return WriteOutput(text);
}

int RunScore(const ScoreOptions& options) {
  v1::ScoreRequest request;
  if (absl::Status status = ReadInput(options.input, request); !status.ok()) {
    return ReportUsage(status);
  }
  request.set_top_logprobs(options.top_logprobs);
  request.set_no_archive(options.no_archive);
  request.set_model(options.connection.model);
  Connection connection(options.connection);
  const bool tokens = options.tokens || options.top_logprobs > 0;
  bool readers_left = true;
  grpc::ClientContext& context = connection.NewContext();
  const absl::Status status =
      connection.client().Score(context, request, [&](const v1::ScoreResponse& response) {
        readers_left = readers_left && (options.connection.json ? PrintJson(response)
                                                                : PrintPlain(response, tokens));
        if (!readers_left) context.TryCancel();
      });
  return readers_left ? connection.Report(status) : kDone;
}

}  // namespace

void AddScoreCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<ScoreOptions>();
  CLI::App& command = *app.add_subcommand("score", "Log-probabilities of a given text");
  command.footer(kScoreFooter);
  AddInputOptions(command, options->input);
  command.add_flag("--tokens", options->tokens, "Print every token");
  AddNumber(command, "--top-logprobs", options->top_logprobs,
            "Alternatives to list at every token, 0 to 100");
  command.add_flag("--no-archive", options->no_archive,
                   "Be served in constant memory, without opening units of an archive");
  AddConnectionOptions(command, options->connection);
  command.callback([options, &run] { run = [options] { return RunScore(*options); }; });
}

}  // namespace fmaserver::client
