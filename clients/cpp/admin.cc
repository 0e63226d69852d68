// fma admin: changes which models the server serves.
#include <memory>
#include <optional>
#include <string>

#include "clients/cpp/commands.h"
#include "clients/cpp/connection.h"
#include "clients/cpp/model_printer.h"
#include "command_line/numbers.h"

namespace fmaserver::client {
namespace {

constexpr char kAdminFooter[] = R"(
The server must have been started with --admin-token-file, and FMA_TOKEN hold one of its tokens.

Examples:
  fma admin load /srv/models/tiny --name small
  fma admin unload small --grace 10)";

struct AdminOptions {
  ConnectionOptions connection;
  std::string folder;
  std::string name;
  std::optional<double> grace_seconds;
};

int Load(const AdminOptions& options) {
  v1::LoadModelRequest request;
  request.set_folder(options.folder);
  request.set_name(options.name);
  Connection connection(options.connection);
  const auto model = connection.client().LoadModel(connection.NewContext(), request);
  if (model.ok()) PrintModel(*model, options.connection.json);
  return connection.Report(model.status());
}

int Unload(const AdminOptions& options) {
  v1::UnloadModelRequest request;
  request.set_name(options.name);
  if (options.grace_seconds) request.set_grace_seconds(*options.grace_seconds);
  Connection connection(options.connection);
  return connection.Report(connection.client().UnloadModel(connection.NewContext(), request));
}

}  // namespace

void AddAdminCommand(CLI::App& app, RunCommand& run) {
  CLI::App& admin = *app.add_subcommand("admin", "Load and unload models of a running server");
  admin.require_subcommand(1);
  admin.footer(kAdminFooter);

  auto loaded = std::make_shared<AdminOptions>();
  CLI::App& load = *admin.add_subcommand("load", "Serves one more model");
  load.add_option("folder", loaded->folder, "Checkpoint folder on the server's machine")
      ->required();
  load.add_option("--name", loaded->name, "What requests call it (server: the folder's name)");
  AddConnectionOptions(load, loaded->connection);
  load.callback([loaded, &run] { run = [loaded] { return Load(*loaded); }; });

  auto unloaded = std::make_shared<AdminOptions>();
  CLI::App& unload = *admin.add_subcommand("unload", "Ends serving a model");
  unload.add_option("name", unloaded->name, "The model")->required();
  AddNumber(unload, "--grace", unloaded->grace_seconds,
            "For its running requests (server: --drain-seconds)")
      ->type_name("SECONDS");
  AddConnectionOptions(unload, unloaded->connection);
  unload.callback([unloaded, &run] { run = [unloaded] { return Unload(*unloaded); }; });
}

}  // namespace fmaserver::client
