// How a server ends: what it waits for, and what it does then.
#pragma once

#include <chrono>
#include <csignal>

#include "absl/status/status.h"
#include "server/access/accesses.h"
#include "server/load_model.h"
#include "server/models/model_registry.h"
#include "server/openai/openai_server.h"
#include "server/rpc/rpc_server.h"
#include "server/status_pages.h"

namespace fmaserver {

/// What is waiting to be logged at the end gets this long.
inline constexpr std::chrono::seconds kLogPatience(2);

/// For the time before the server listens, when there is nothing to drain: ends the process.
[[noreturn]] void EndWhileLoading(int signal);

/// Obeys `signals` (BlockSignals) and keeps house until one of them asks for the end, or the device
/// is lost.
void WaitForTermination(const sigset_t& signals, const access::Accesses& accesses,
                        const models::ModelRegistry& models);

/// What a server that serves consists of.
struct WhatEnds {
  const models::ModelRegistry& models;
  const ModelLoader& loader;
  rpc::RpcServer& server;
  openai::OpenAiServer* openai;  ///< null: there is none
  StatusPages& pages;
};

/// Refuses new requests, gives those that run `drain_seconds`, and closes the connections.
/// UNAVAILABLE when the device failed;
/// nothing is waited for then.
absl::Status Shutdown(const WhatEnds& what, double drain_seconds);

}  // namespace fmaserver
