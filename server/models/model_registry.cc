#include "server/models/model_registry.h"

#include <algorithm>
#include <iterator>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/refusal.h"

namespace fmaserver::models {

// The last holder may be any thread, the engine's too, which cannot end its own engine. It hands
// the model back instead, to whoever waits for it.
ModelRegistry::Entry ModelRegistry::MakeEntry(std::unique_ptr<ServedModel> model) {
  const auto released = std::make_shared<std::promise<std::unique_ptr<const ServedModel>>>();
  Entry entry{.model = nullptr, .released = released->get_future()};
  entry.model = ModelPtr(model.release(), [released](const ServedModel* served) {
    released->set_value(std::unique_ptr<const ServedModel>(served));
  });
  return entry;
}

void ModelRegistry::AwaitRelease(Entry entry) {
  entry.model.reset();
  entry.released.get().reset();
}

void ModelRegistry::ReleaseLater(Entry entry, const std::string& name) {
  const std::lock_guard lock(mutex_);
  releases_.emplace_back([this, name, entry = std::move(entry)]() mutable {
    AwaitRelease(std::move(entry));
    Free(name);
  });
}

ModelRegistry::~ModelRegistry() {
  releases_.clear();
  for (Entry& entry : models_) AwaitRelease(std::move(entry));
}

absl::Status ModelRegistry::Reserve(const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (taken_.insert(name).second) return absl::OkStatus();
  return Refusal("model", name, absl::StrCat("a name that is not taken; served: ", Names()),
                 absl::StatusCode::kAlreadyExists);
}

void ModelRegistry::Add(Entry entry) {
  const std::lock_guard lock(mutex_);
  models_.push_back(std::move(entry));
}

void ModelRegistry::Free(const std::string& name) {
  const std::lock_guard lock(mutex_);
  taken_.erase(name);
}

absl::StatusOr<ModelPtr> ModelRegistry::Load(const ModelSource& source) {
  if (absl::Status status = Reserve(source.name); !status.ok()) return status;
  auto model = loader_(source);
  if (!model.ok()) {
    Free(source.name);
    return model.status();
  }
  Entry entry = MakeEntry(*std::move(model));
  ModelPtr loaded = entry.model;
  Add(std::move(entry));
  return loaded;
}

absl::StatusOr<ModelRegistry::Entry> ModelRegistry::Take(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(
      models_, name, [](const Entry& entry) -> const std::string& { return entry.model->name(); });
  if (found == models_.end()) {
    return Refusal("model", name, Names(), absl::StatusCode::kNotFound);
  }
  if (models_.size() == 1) {
    return Refusal("model", Words{"the only one"}, "to unload one while another is served",
                   absl::StatusCode::kFailedPrecondition);
  }
  Entry entry = std::move(*found);
  models_.erase(found);
  return entry;
}

absl::Status ModelRegistry::Unload(const std::string& name, absl::Duration grace) {
  absl::StatusOr<Entry> entry = Take(name);
  if (!entry.ok()) return entry.status();
  entry->model->engine().Drain(grace);
  entry->model.reset();
  const auto released = entry->released.wait_for(absl::ToChronoNanoseconds(patience_));
  if (released == std::future_status::ready) {
    AwaitRelease(*std::move(entry));
    Free(name);
    return absl::OkStatus();
  }
  ReleaseLater(*std::move(entry), name);
  return absl::AbortedError(absl::StrCat(
      "model \"", name, "\" is served no more, but a call such as an export whose client does not ",
      "read still holds it; its memory and its name are free when that call ends"));
}

std::string ModelRegistry::Names() const {
  std::string names;
  for (const Entry& entry : models_) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", entry.model->name());
  }
  return names;
}

absl::StatusOr<ModelPtr> ModelRegistry::Find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  for (const Entry& entry : models_) {
    if (name.empty() || entry.model->name() == name) return entry.model;
  }
  return Refusal("model", name, Names(), absl::StatusCode::kNotFound);
}

std::vector<ModelPtr> ModelRegistry::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<ModelPtr> models;
  std::ranges::transform(models_, std::back_inserter(models), &Entry::model);
  return models;
}

void ModelRegistry::Drain(absl::Duration grace) const {
  std::vector<std::jthread> drains;
  for (const ModelPtr& model : List()) {
    drains.emplace_back([model, grace] { model->engine().Drain(grace); });
  }
}

}  // namespace fmaserver::models
