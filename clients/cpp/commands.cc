#include "clients/cpp/commands.h"

namespace fmaserver::client {
namespace {

constexpr char kToolFooter[] = R"(
Examples:
  fma generate "Once upon a time"            continue a prompt
  fma generate --prompt-file book.txt        ... from a file; '-' reads standard input
  fma chat                                   talk with a model that has a chat template
  fma score --top-logprobs 5 "Hello"         log-probabilities of a text
  fma embed "The cat sat on the mat"         the vector that an encoder makes of a text
  fma models                                 what the server serves and what it costs
  fma health                                 whether the server takes requests
  fma sessions list                          the conversations that the server keeps

Standard output holds just the result; progress and summaries go to standard error.
Exit codes: 0 done, 1 output could not be written, 2 wrong usage, 3 refused by the server, 4 server not
reachable, 130 interrupted.)";

}  // namespace

void AddCommands(CLI::App& app, RunCommand& run) {
  app.description(
      "fma - generate, chat, score, embed, tokenize and keep conversations with a running FMA "
      "Server");
  app.set_version_flag("--version", "fma " FMA_VERSION, "Print the version and exit");
  app.require_subcommand(1);
  app.footer(kToolFooter);
  AddGenerateCommand(app, run);
  AddChatCommand(app, run);
  AddScoreCommand(app, run);
  AddEmbedCommand(app, run);
  AddFillMaskCommand(app, run);
  AddTokenizeCommand(app, run);
  AddDetokenizeCommand(app, run);
  AddModelsCommand(app, run);
  AddHealthCommand(app, run);
  AddSessionsCommand(app, run);
  AddAdminCommand(app, run);
}

}  // namespace fmaserver::client
