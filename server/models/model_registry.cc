#include "server/models/model_registry.h"

#include <algorithm>
#include <iterator>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/refusal.h"

namespace fmaserver::models {
namespace {

std::set<std::string> NamesOf(const std::string& name, const std::vector<std::string>& aliases) {
  std::set<std::string> names(aliases.begin(), aliases.end());
  names.insert(name);
  return names;
}

bool IsCalled(const ServedModel& model, const std::string& name) {
  return model.name() == name || std::ranges::find(model.aliases(), name) != model.aliases().end();
}

}  // namespace

// The last holder may be any thread, the engine's too, which cannot end its own engine. It hands
// the model back instead, to the thread that waits in Unload or in the destructor.
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

void ModelRegistry::ReleaseLater(Entry entry, Names names) {
  const std::lock_guard lock(mutex_);
  releases_.emplace_back([this, names = std::move(names), entry = std::move(entry)]() mutable {
    AwaitRelease(std::move(entry));
    Free(names);
  });
}

ModelRegistry::~ModelRegistry() {
  releases_.clear();
  for (Entry& entry : models_) AwaitRelease(std::move(entry));
}

absl::Status ModelRegistry::Reserve(const Names& names) {
  const std::lock_guard lock(mutex_);
  for (const std::string& name : names) {
    if (!taken_.contains(name)) continue;
    return Refusal("model", name, Concat("a name that is not taken; served: ", ServedNames()),
                   absl::StatusCode::kAlreadyExists);
  }
  taken_.insert(names.begin(), names.end());
  return absl::OkStatus();
}

void ModelRegistry::Add(Entry entry) {
  const std::lock_guard lock(mutex_);
  models_.push_back(std::move(entry));
}

void ModelRegistry::Free(const Names& names) {
  const std::lock_guard lock(mutex_);
  for (const std::string& name : names) taken_.erase(name);
}

absl::StatusOr<ModelPtr> ModelRegistry::Load(const ModelSource& source) {
  const Names names = NamesOf(source.name, source.aliases);
  if (absl::Status status = Reserve(names); !status.ok()) return status;
  auto model = loader_(source);
  if (!model.ok()) {
    Free(names);
    return model.status();
  }
  Entry entry = MakeEntry(*std::move(model));
  ModelPtr loaded = entry.model;
  Add(std::move(entry));
  return loaded;
}

absl::StatusOr<ModelRegistry::Entry> ModelRegistry::Take(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find_if(
      models_, [&name](const Entry& entry) { return IsCalled(*entry.model, name); });
  if (found == models_.end()) {
    return Refusal("model", name, ServedNames(), absl::StatusCode::kNotFound);
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
  const Names names = NamesOf(entry->model->name(), entry->model->aliases());
  entry->model->runner().Drain(grace);
  entry->model.reset();
  const auto released = entry->released.wait_for(absl::ToChronoNanoseconds(patience_));
  if (released == std::future_status::ready) {
    AwaitRelease(*std::move(entry));
    Free(names);
    return absl::OkStatus();
  }
  ReleaseLater(*std::move(entry), names);
  return absl::AbortedError(
      absl::StrCat("model \"", name,
                   "\" is no longer served, but a call such as an export whose client does not ",
                   "read still holds it; its memory and its name are free when that call ends"));
}

std::string ModelRegistry::ServedNames() const {
  std::string names;
  for (const Entry& entry : models_) {
    for (const std::string& name : NamesOf(entry.model->name(), entry.model->aliases())) {
      absl::StrAppend(&names, names.empty() ? "" : ", ", name);
    }
  }
  return names;
}

absl::StatusOr<ModelPtr> ModelRegistry::Find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  for (const Entry& entry : models_) {
    if (name.empty() || IsCalled(*entry.model, name)) return entry.model;
  }
  return Refusal("model", name, ServedNames(), absl::StatusCode::kNotFound);
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
    drains.emplace_back([model, grace] { model->runner().Drain(grace); });
  }
}

}  // namespace fmaserver::models
