// One model as it is served: what computes and what keeps its sessions.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/engine.h"
#include "server/models/model_name.h"
#include "server/sessions/session_store.h"

namespace fmaserver::models {

/// Thread-safe. Its end frees the memory of weights, slots and sessions.
class ServedModel {
 public:
  /// `companions` live as long as the model and the engine needs them: what counts its events.
  ServedModel(ModelSource source, std::unique_ptr<engine::Engine> engine,
              std::shared_ptr<sessions::SessionStore> sessions,
              std::vector<std::shared_ptr<const void>> companions = {})
      : source_(std::move(source)),
        companions_(std::move(companions)),
        sessions_(std::move(sessions)),
        engine_(std::move(engine)) {}

  const std::string& name() const { return source_.name; }
  const std::vector<std::string>& aliases() const { return source_.aliases; }
  engine::Engine& engine() const { return *engine_; }
  sessions::SessionStore& sessions() const { return *sessions_; }

 private:
  const ModelSource source_;
  const std::vector<std::shared_ptr<const void>> companions_;
  const std::shared_ptr<sessions::SessionStore> sessions_;
  const std::unique_ptr<engine::Engine> engine_;
};

/// Whoever works for a call of a model holds one: it keeps the model as it is. A call that is in
/// the engine needs none, because an engine ends what it runs before it goes.
using ModelPtr = std::shared_ptr<const ServedModel>;

}  // namespace fmaserver::models
