// fma health: whether the server takes requests, for scripts and health checks.
#include <memory>
#include <nlohmann/json.hpp>

#include "clients/cpp/commands.h"
#include "clients/cpp/connection.h"
#include "clients/cpp/output.h"
#include "command_line/output.h"

namespace fmaserver::client {
namespace {

int RunHealth(const ConnectionOptions& options) {
  Connection connection(options);
  const auto serving = connection.IsServing();
  if (!serving.ok()) return connection.Report(serving.status());
  const std::string status = *serving ? "SERVING" : "NOT_SERVING";
  if (options.json) {
    PrintJsonLine({{"status", status}});
  } else {
    WriteOutput(status + "\n");
  }
  return *serving ? kDone : kRefused;
}

}  // namespace

void AddHealthCommand(CLI::App& app, RunCommand& run) {
  auto options = std::make_shared<ConnectionOptions>();
  CLI::App& command = *app.add_subcommand("health", "Whether the server takes requests");
  AddConnectionOptions(command, *options);
  command.callback([options, &run] { run = [options] { return RunHealth(*options); }; });
}

}  // namespace fmaserver::client
