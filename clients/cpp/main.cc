// fma: talk to an FMA Server from the command line.
#include <google/protobuf/stubs/logging.h>

#include <CLI/CLI.hpp>

#include "clients/cpp/commands.h"
#include "command_line/output.h"
#include "command_line/parse.h"
#include "command_line/process.h"

namespace {

constexpr char kFooter[] = R"(
Examples:
  fma generate "Once upon a time"            continue a prompt
  fma generate --prompt-file book.txt        ... from a file; '-' reads standard input
  fma score --top-logprobs 5 "Hello"         log-probabilities of a text
  fma models                                 what the server serves and what it costs
  fma health                                 whether the server takes requests
  fma sessions list                          the conversations that the server keeps

Standard output holds just the result; progress and summaries go to standard error.
Exit codes: 0 done, 1 output could not be written, 2 wrong usage, 3 refused by the server, 4 server not reachable,
130 interrupted.)";

}  // namespace

int main(int argc, char** argv) {
  fmaserver::PrepareProcess();
  // Broken UTF-8 in a prompt is the server's to refuse, with a better message.
  google::protobuf::SetLogHandler(nullptr);

  CLI::App app("fma - generate, score, tokenize and keep conversations with a running FMA Server");
  app.require_subcommand(1);
  app.footer(kFooter);
  fmaserver::client::RunCommand run;
  fmaserver::client::AddGenerateCommand(app, run);
  fmaserver::client::AddScoreCommand(app, run);
  fmaserver::client::AddTokenizeCommand(app, run);
  fmaserver::client::AddDetokenizeCommand(app, run);
  fmaserver::client::AddModelsCommand(app, run);
  fmaserver::client::AddHealthCommand(app, run);
  fmaserver::client::AddSessionsCommand(app, run);
  fmaserver::client::AddAdminCommand(app, run);
  if (const auto code = fmaserver::ParseCommandLine(app, argc, argv)) return *code;
  return fmaserver::FinishOutput(run());
}
