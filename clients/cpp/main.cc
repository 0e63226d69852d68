// fma: talk to an FMA Server from the command line.
#include <google/protobuf/stubs/logging.h>

#include <CLI/CLI.hpp>

#include "clients/cpp/commands.h"
#include "command_line/output.h"
#include "command_line/parse.h"
#include "command_line/process.h"

int main(int argc, char** argv) {
  fmaserver::PrepareProcess();
  // Broken UTF-8 in a prompt is the server's to refuse, with a better message.
  google::protobuf::SetLogHandler(nullptr);

  CLI::App app;
  fmaserver::client::RunCommand run;
  fmaserver::client::AddCommands(app, run);
  if (const auto code = fmaserver::ParseCommandLine(app, argc, argv)) return *code;
  return fmaserver::FinishOutput(run());
}
