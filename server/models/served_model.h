// One model as it is served: a decoder with its engine and the store of its sessions, or an encoder
// with an engine of its kind.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model_loader/chat_template/chat_template.h"
#include "model_loader/sampling_defaults.h"
#include "server/engine/encoder_engine.h"
#include "server/engine/engine.h"
#include "server/models/model_name.h"
#include "server/sessions/session_store.h"

namespace fmaserver::models {

/// Thread-safe. Its destructor frees the memory of weights, slots and sessions.
class ServedModel {
 public:
  /// Sessions that are safe on the shelf make room for archives of requests. `companions` are
  /// objects that must live as long as the model, such as those that count its events.
  /// `chat_template` may be null.
  ServedModel(ModelSource source, std::unique_ptr<engine::Engine> engine,
              std::shared_ptr<sessions::SessionStore> sessions,
              std::vector<std::shared_ptr<const void>> companions = {},
              std::shared_ptr<const chat::ChatTemplate> chat_template = nullptr,
              const model::SamplingDefaults& sampling_defaults = {});

  /// An encoder: nothing of it is kept, so there are no sessions.
  ServedModel(ModelSource source, std::unique_ptr<engine::EncoderEngine> encoder,
              std::vector<std::shared_ptr<const void>> companions = {});

  const std::string& name() const { return source_.name; }
  const std::vector<std::string>& aliases() const { return source_.aliases; }
  bool is_encoder() const { return encoder_ != nullptr; }
  /// Whichever of the two engines it has.
  engine::RequestRunner& runner() const {
    return is_encoder() ? static_cast<engine::RequestRunner&>(*encoder_) : *engine_;
  }
  /// These two only of a decoder.
  engine::Engine& engine() const { return *engine_; }
  sessions::SessionStore& sessions() const { return *sessions_; }
  /// Only of an encoder.
  engine::EncoderEngine& encoder() const { return *encoder_; }
  /// Null when there are no chats with this model.
  const std::shared_ptr<const chat::ChatTemplate>& chat_template() const { return chat_template_; }
  const model::SamplingDefaults& sampling_defaults() const { return sampling_defaults_; }

 private:
  const ModelSource source_;
  const std::vector<std::shared_ptr<const void>> companions_;
  const std::shared_ptr<const chat::ChatTemplate> chat_template_;
  const model::SamplingDefaults sampling_defaults_;
  const std::shared_ptr<sessions::SessionStore> sessions_;
  const std::unique_ptr<engine::Engine> engine_;
  const std::unique_ptr<engine::EncoderEngine> encoder_;
};

/// Everything that works for a call of a model holds one, which keeps the model alive. A call that
/// is in the engine needs none, because an engine ends what it runs before it goes.
using ModelPtr = std::shared_ptr<const ServedModel>;

}  // namespace fmaserver::models
