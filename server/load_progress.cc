#include "server/load_progress.h"

#include <condition_variable>
#include <stop_token>
#include <utility>

namespace fmaserver {

LoadProgress::Model::Model(LoadProgress& all, std::string name)
    : all_(all), name_(std::move(name)) {
  {
    const std::lock_guard lock(all_.mutex_);
    place_ = all_.models_.insert(all_.models_.end(), this);
  }
  speaker_ = std::jthread([this](const std::stop_token& stop) {
    std::condition_variable_any ended;
    std::unique_lock lock(all_.mutex_);
    while (!ended.wait_for(lock, stop, all_.interval_, [&] { return stop.stop_requested(); })) {
      const std::string line = Line();
      lock.unlock();
      all_.say_(line);
      lock.lock();
    }
  });
}

LoadProgress::Model::~Model() {
  speaker_.request_stop();
  speaker_.join();
  const std::lock_guard lock(all_.mutex_);
  all_.models_.erase(place_);
}

void LoadProgress::Model::Set(std::string state) {
  const std::lock_guard lock(all_.mutex_);
  state_ = std::move(state);
}

std::string LoadProgress::Model::Line() const { return "loading " + name_ + ": " + state_; }

bool LoadProgress::IsEmpty() const {
  const std::lock_guard lock(mutex_);
  return models_.empty();
}

std::string LoadProgress::Text() const {
  const std::lock_guard lock(mutex_);
  if (models_.empty()) return "loading";
  std::string text;
  for (const Model* model : models_) {
    if (!text.empty()) text += '\n';
    text += model->Line();
  }
  return text;
}

}  // namespace fmaserver
