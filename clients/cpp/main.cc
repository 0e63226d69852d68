// fma: talk to an FMA Server from the command line.
#include <google/protobuf/stubs/logging.h>

#include <CLI/CLI.hpp>

#include "clients/cpp/commands.h"
#include "clients/cpp/output.h"

int main(int argc, char** argv) {
  // Broken UTF-8 in a prompt is the server's to refuse, with a better message.
  google::protobuf::SetLogHandler(nullptr);

  CLI::App app;
  fmaserver::client::RunCommand run;
  fmaserver::client::AddCommands(app, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? fmaserver::client::kDone : fmaserver::client::kWrongUsage;
  }
  return run();
}
