// The options of fma-server, from the command line and the environment.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "server/engine/engine.h"
#include "server/rpc/rpc_server.h"
#include "server/sessions/session_types.h"

namespace fmaserver {

struct Flags {
  std::string model;
  std::string device = "auto";
  int threads = 0;
  EngineOptions engine;
  SessionOptions sessions;
  RpcServerOptions rpc;
  std::string http;  ///< HOST:PORT of probes and metrics; empty: none
  double drain_seconds = 30;
  std::string log_level = "info";
};

/// Declares the options on `app`, whose parsing fills `flags`.
void AddFlags(CLI::App& app, Flags& flags);

}  // namespace fmaserver
