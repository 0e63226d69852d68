// The models that a server serves: found by name, loaded and unloaded while it runs.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/models/served_model.h"

namespace fmaserver::models {

/// Thread-safe. A request that names no model means the first one.
class ModelRegistry {
 public:
  using Loader =
      std::function<absl::StatusOr<std::unique_ptr<ServedModel>>(const ModelSource& source)>;

  /// `loader` makes a model of its source; it may run on several threads at once. `patience`: how
  /// long an unloaded model may stay with whoever holds it, before Unload() says so.
  explicit ModelRegistry(Loader loader, absl::Duration patience = absl::Seconds(10))
      : loader_(std::move(loader)), patience_(patience) {}
  /// Waits until nobody holds a model any more.
  ~ModelRegistry();
  ModelRegistry(const ModelRegistry&) = delete;
  ModelRegistry& operator=(const ModelRegistry&) = delete;

  /// Loads a model and serves it, on the calling thread; others are found meanwhile. ALREADY_EXISTS
  /// for a name or alias that is served, being loaded or being unloaded; the loader's errors. An
  /// error changes nothing.
  absl::StatusOr<ModelPtr> Load(const ModelSource& source);

  /// Hides the model of this name or alias, drains its engine with `grace` and, when nobody holds
  /// it any more, destroys it. NOT_FOUND; FAILED_PRECONDITION for the only model; ABORTED when a
  /// call, such as an export that nobody reads, still holds it after the patience: then it is
  /// destroyed, and its names are free, when that call ends.
  absl::Status Unload(const std::string& name, absl::Duration grace);

  /// The model of this name or alias, or for an empty one the first. NOT_FOUND names what is
  /// served.
  absl::StatusOr<ModelPtr> Find(const std::string& name) const;

  /// In the order in which they were loaded.
  std::vector<ModelPtr> List() const;

  /// Drains all engines at once.
  void Drain(absl::Duration grace) const;

 private:
  struct Entry {
    ModelPtr model;
    std::future<std::unique_ptr<const ServedModel>> released;  // by the last holder
  };
  static Entry MakeEntry(std::unique_ptr<ServedModel> model);
  static void AwaitRelease(Entry entry);

  using Names = std::set<std::string>;
  void ReleaseLater(Entry entry, Names names);

  /// All of `names`, or none.
  absl::Status Reserve(const Names& names);
  void Add(Entry entry);
  absl::StatusOr<Entry> Take(const std::string& name);
  void Free(const Names& names);
  std::string ServedNames() const;

  const Loader loader_;
  const absl::Duration patience_;
  mutable std::mutex mutex_;
  std::vector<Entry> models_;  // guarded by mutex_, as are the next two
  Names taken_;                // with aliases, from the start of loading to the end of unloading
  std::vector<std::jthread> releases_;  // each waits for a model's last holder
};

}  // namespace fmaserver::models
