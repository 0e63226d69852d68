// A shelf that works until the test stops it or makes it fail.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "server/sessions/state_shelf.h"

namespace fmaserver::testing {

/// How a test controls a GatedShelf, which belongs to a store. Thread-safe.
class Gate {
 public:
  /// From now on calls wait, as they would for a disk that hangs.
  void Close();
  void Open();
  /// Returns once `calls` calls wait.
  void AwaitWaiting(int calls);

  /// From now on calls fail with this status; OK: they work again.
  void FailWith(absl::Status status);

  /// The number of calls so far.
  int calls() const { return calls_; }

 private:
  friend class GatedShelf;

  absl::Status Pass();

  std::mutex mutex_;
  std::condition_variable changed_;
  bool closed_ = false;
  int waiting_ = 0;
  absl::Status failure_;
  std::atomic<int> calls_ = 0;
};

/// Passes every call through the gate, and then on to another shelf.
class GatedShelf final : public sessions::StateShelf {
 public:
  GatedShelf(std::unique_ptr<StateShelf> shelf, Gate& gate)
      : shelf_(std::move(shelf)), gate_(gate) {}

  absl::StatusOr<std::vector<sessions::StoredSession>> Recover() override {
    return shelf_->Recover();
  }
  absl::StatusOr<std::vector<std::string>> Ids(const std::string& tenant) const override {
    absl::Status status = gate_.Pass();
    if (!status.ok()) return status;
    return shelf_->Ids(tenant);
  }
  absl::StatusOr<std::optional<sessions::StoredSession>> Read(
      const sessions::SessionName& name, const sessions::Version& known) const override {
    absl::Status status = gate_.Pass();
    if (!status.ok()) return status;
    return shelf_->Read(name, known);
  }
  absl::StatusOr<std::shared_ptr<sessions::Tail>> ReadTail(
      const sessions::SessionName& name, const sessions::Version& expected) const override {
    absl::Status status = gate_.Pass();
    if (!status.ok()) return status;
    return shelf_->ReadTail(name, expected);
  }
  absl::StatusOr<std::unique_ptr<sessions::OpenItem>> Open(
      const sessions::SessionName& name, const sessions::ShelfItem& item) const override {
    absl::Status status = gate_.Pass();
    if (!status.ok()) return status;
    return shelf_->Open(name, item);
  }
  absl::StatusOr<sessions::Saved> Save(const sessions::SavePlan& plan) override {
    absl::Status status = gate_.Pass();
    if (!status.ok()) return status;
    return shelf_->Save(plan);
  }
  absl::Status Remove(const sessions::SessionName& name, const sessions::Version& expected,
                      const std::vector<sessions::ShelfItem>& items) override {
    absl::Status status = gate_.Pass();
    if (!status.ok()) return status;
    return shelf_->Remove(name, expected, items);
  }

 private:
  const std::unique_ptr<StateShelf> shelf_;
  Gate& gate_;
};

}  // namespace fmaserver::testing
