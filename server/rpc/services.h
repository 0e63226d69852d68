// What every call works with.
#pragma once

#include "server/engine/engine.h"
#include "server/rpc/call.h"
#include "server/rpc/worker_pool.h"
#include "server/sessions/session_store.h"

namespace fmaserver::rpc {

/// All of them outlive the calls.
struct Services {
  engine::Engine& engine;
  sessions::SessionStore& sessions;
  WorkerPool& workers;
  const CallPolicy& policy;
};

}  // namespace fmaserver::rpc
