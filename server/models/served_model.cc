#include "server/models/served_model.h"

namespace fmaserver::models {

ServedModel::ServedModel(ModelSource source, std::unique_ptr<engine::Engine> engine,
                         std::shared_ptr<sessions::SessionStore> sessions,
                         std::vector<std::shared_ptr<const void>> companions,
                         std::shared_ptr<const chat::ChatTemplate> chat_template,
                         const model::SamplingDefaults& sampling_defaults)
    : source_(std::move(source)),
      companions_(std::move(companions)),
      chat_template_(std::move(chat_template)),
      sampling_defaults_(sampling_defaults),
      sessions_(std::move(sessions)),
      engine_(std::move(engine)) {
  if (engine_->archives() == nullptr) return;
  // Weak, because what sessions and calls hold of the archives may outlive the store.
  engine_->archives()->AddReclaimer(
      [store = std::weak_ptr(sessions_)](const std::string& tenant, auto enough) {
        if (const auto held = store.lock()) held->DropArchives(tenant, enough);
      });
}

ServedModel::ServedModel(ModelSource source, std::unique_ptr<engine::EncoderEngine> encoder,
                         std::vector<std::shared_ptr<const void>> companions)
    : source_(std::move(source)),
      companions_(std::move(companions)),
      encoder_(std::move(encoder)) {}

}  // namespace fmaserver::models
