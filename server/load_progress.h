// How far the models are that are being loaded, for probes and the log.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>

namespace fmaserver {

/// Thread-safe.
class LoadProgress {
 public:
  /// `say` gets a line for each model whenever it has been loading for another `interval`, on a
  /// thread of its own.
  explicit LoadProgress(std::function<void(const std::string& line)> say,
                        std::chrono::milliseconds interval = std::chrono::seconds(2))
      : say_(std::move(say)), interval_(interval) {}

  /// A model that is being loaded, as long as this object lives, which `all` outlives.
  class Model {
   public:
    Model(LoadProgress& all, std::string name);
    ~Model();
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;

    /// What is being done for it from now on: "17 of 40 MiB of weights".
    void Set(std::string state);

   private:
    friend class LoadProgress;
    std::string Line() const;  // called with the mutex held

    LoadProgress& all_;
    const std::string name_;
    std::string state_ = "its files";          // guarded by the mutex of all_
    std::list<const Model*>::iterator place_;  // likewise
    std::jthread speaker_;
  };

  bool IsEmpty() const;

  /// "loading tiny: 17 of 40 MiB of weights", with a line for each model; "loading" when there is
  /// none, because the server does something else before it serves.
  std::string Text() const;

 private:
  const std::function<void(const std::string& line)> say_;
  const std::chrono::milliseconds interval_;
  mutable std::mutex mutex_;
  std::list<const Model*> models_;  // guarded by mutex_
};

}  // namespace fmaserver
