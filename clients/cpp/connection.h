// What every subcommand shares: the options of the connection, the client, and Ctrl-C.
#pragma once

#include <grpcpp/client_context.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <mutex>

#include "absl/status/statusor.h"
#include "clients/cpp/client.h"
#include "clients/cpp/interrupt.h"
#include "clients/cpp/output.h"
#include "clients/cpp/server_options.h"

namespace fmaserver::client {

struct ConnectionOptions : ServerOptions {
  bool json = false;
};

/// Adds the options of the server, and --json, to `command`.
void AddConnectionOptions(CLI::App& command, ConnectionOptions& options);

/// One run of a subcommand against one server. Create it when the input has been read: from then on
/// Ctrl-C no longer ends the process by itself.
class Connection {
 public:
  explicit Connection(const ConnectionOptions& options);

  Client& client() { return client_; }
  const ConnectionOptions& options() const { return options_; }

  /// A context for the next call, which replaces the one before; cancelled if SIGINT came already.
  grpc::ClientContext& NewContext();
  bool Interrupted() const { return interrupt_.Happened(); }
  /// Ctrl-C has ended what it should; the next calls are made.
  void ForgetInterrupt() { interrupt_.Forget(); }

  /// A request to the model of the options.
  template <class Request>
  Request NewRequest() const {
    Request request;
    request.set_model(options_.model);
    return request;
  }

  /// These also find out, within seconds, whether there is a server.
  absl::StatusOr<v1::Model> GetModel();
  absl::StatusOr<v1::ListModelsResponse> ListModels();
  absl::StatusOr<bool> IsServing();

  /// The exit code for how a call ended; prints the error unless the user caused it.
  ExitCode Report(const absl::Status& status) const;

 private:
  void CancelCall();
  grpc::ClientContext& NewShortContext();

  ConnectionOptions options_;
  std::mutex mutex_;
  std::unique_ptr<grpc::ClientContext> context_;  // guarded by mutex_
  Interrupt interrupt_;                           // before client_: see Interrupt
  Client client_;
};

}  // namespace fmaserver::client
