#include "clients/cpp/server_options.h"

#include <utility>

namespace fmaserver::client {
namespace {

void ReadFiles(ServerOptions& options) {
  auto pem = ReadTls(options.tls);
  if (!pem.ok()) throw CLI::ValidationError(std::string(pem.status().message()));
  options.pem = *std::move(pem);
}

}  // namespace

void AddServerOptions(CLI::App& command, ServerOptions& options) {
  command.add_option("--server", options.server, "Address of the server")
      ->type_name("HOST:PORT")
      ->envname("FMA_SERVER")
      ->capture_default_str();
  AddAccessOptions(command, options);
}

void AddAccessOptions(CLI::App& command, ServerOptions& options) {
  command.add_flag("--tls", options.tls.on, "Use TLS, with the system's authorities");
  const auto add_file = [&command](const char* name, std::string& file, const char* help) {
    command.add_option(name, file, help)->type_name("FILE")->check(CLI::ExistingFile);
  };
  add_file("--tls-ca", options.tls.ca, "Use TLS; authorities of the server's certificate, PEM");
  add_file("--tls-cert", options.tls.cert, "Use TLS; own certificate and its chain, PEM");
  add_file("--tls-key", options.tls.key, "Private key of --tls-cert, PEM");
  command.add_option("--token", options.token, "Bearer token; better given by FMA_TOKEN")
      ->type_name("TOKEN")
      ->envname("FMA_TOKEN");
  command.add_option("--model", options.model, "Which of the served models (server: the first)")
      ->type_name("NAME");
  command.parse_complete_callback([&options] { ReadFiles(options); });
}

Client MakeClient(const ServerOptions& options) {
  return Client(options.server, MakeChannelCredentials(options.pem), options.token);
}

}  // namespace fmaserver::client
