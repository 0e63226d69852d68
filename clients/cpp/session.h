// What every subcommand shares: the options of the connection, the client, and Ctrl-C.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "clients/cpp/client.h"
#include "clients/cpp/interrupt.h"
#include "clients/cpp/output.h"

namespace fmaserver {

struct SessionOptions {
  std::string server = "localhost:50051";
  bool json = false;
};

/// Adds --server and --json to `command`.
void AddSessionOptions(CLI::App& command, SessionOptions& options);

/// One run of a subcommand against one server. Create it when the input has been read: from then on
/// Ctrl-C no longer ends the process by itself.
class Session {
 public:
  explicit Session(const SessionOptions& options) : options_(options), client_(options.server) {}

  Client& client() { return client_; }
  const SessionOptions& options() const { return options_; }
  grpc::ClientContext& NewContext() { return interrupt_.NewContext(); }
  bool Interrupted() const { return interrupt_.Happened(); }

  /// Also finds out, within seconds, whether there is a server.
  absl::StatusOr<v1::Model> GetModel();

  /// The exit code for how a call ended; prints the error unless the user caused it.
  ExitCode Report(const absl::Status& status) const;

 private:
  SessionOptions options_;
  Interrupt interrupt_;  // before client_: see Interrupt
  Client client_;
};

}  // namespace fmaserver
