#include "tests/server/sessions/gated_shelf.h"

#include <utility>

namespace fmaserver::testing {

void Gate::Close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

void Gate::Open() {
  const std::lock_guard lock(mutex_);
  closed_ = false;
  changed_.notify_all();
}

void Gate::AwaitWaiting(int calls) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return waiting_ == calls; });
}

void Gate::FailWith(absl::Status status) {
  const std::lock_guard lock(mutex_);
  failure_ = std::move(status);
}

absl::Status Gate::Pass() {
  ++calls_;
  std::unique_lock lock(mutex_);
  ++waiting_;
  changed_.notify_all();
  changed_.wait(lock, [&] { return !closed_; });
  --waiting_;
  return failure_;
}

}  // namespace fmaserver::testing
