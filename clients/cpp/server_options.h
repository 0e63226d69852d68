// The command-line options that every client has: which server, and who calls it.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "clients/cpp/client.h"
#include "clients/cpp/credentials.h"

namespace fmaserver::client {

struct ServerOptions {
  std::string server = "localhost:50051";
  ClientTls tls = {};
  /// What the files of `tls` held when the command line was read.
  std::optional<grpc::SslCredentialsOptions> pem = {};
  std::string token = {};  ///< bearer token; empty: none
  std::string model = {};  ///< empty: the first that is served
};

/// Adds them to `command`, whose parse-complete callback becomes theirs.
void AddServerOptions(CLI::App& command, ServerOptions& options);

/// The same without `server`, for programs that call several.
void AddAccessOptions(CLI::App& command, ServerOptions& options);

Client MakeClient(const ServerOptions& options);

}  // namespace fmaserver::client
