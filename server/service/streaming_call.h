// A call between the engine and a door: the engine's request on one side, a stream on the other.
//
// Ownership: the door holds the call until its stream is over, the engine as a sink until the
// request ends, workers while they work for it. The call holds the door's wire. Once closed, it
// ignores everything that the engine still reports. The call does not keep its model: code that
// works for it does, and output that waits for a slow reader needs none.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/models/served_model.h"
#include "server/service/outbox.h"
#include "server/service/service.h"

namespace fmaserver::service {

/// The public functions are for the door. Any thread.
template <class Event>
class StreamingCall {
 public:
  using Wire = EventWire<Event>;

  /// The write that the wire was asked for is over; OK, or why there is no reader any more.
  void OnWritten(const absl::Status& status) {
    if (!status.ok()) Abandon(status);
    if (!outbox_.Written()) return;
    if (const models::ModelPtr model = model_.lock()) model->runner().Wake();
  }

  /// The reader is gone, or its deadline passed.
  void OnCancel(const absl::Status& why) { Abandon(why); }

 protected:
  StreamingCall(Service& service, std::shared_ptr<Call> call, std::shared_ptr<Wire> wire)
      : service_(service), call_(std::move(call)), outbox_(std::move(wire)) {}
  ~StreamingCall() = default;

  Service& service() { return service_; }
  Call& call() { return *call_; }

  /// Lets `task` read a request of `bytes` for `model`, or ends the call: a request that must be
  /// refused is refused before its text is read. Called once, before everything else.
  void Read(const absl::StatusOr<models::ModelPtr>& model, size_t bytes,
            std::function<void(const models::ModelPtr&)> task) {
    absl::Status status = call_->admission();
    if (status.ok()) status = model.status();
    if (!status.ok()) return Close(status);
    model_ = *model;
    // The engine counts its own refusals.
    status = (*model)->runner().CheckAdmission();
    if (!status.ok()) return Close(status);
    status = service_.Read(bytes, [model = *model, task = std::move(task)] { task(model); });
    if (!status.ok()) Refuse(*model, status, engine::Rejection::kQueueFull);
  }

  /// Ends the call because of its request, which `model` was not asked to run.
  void Refuse(const models::ModelPtr& model, const absl::Status& status, engine::Rejection why) {
    model->runner().CountRejection(why);
    Close(status);
  }

  void Send(Event event) { outbox_.Send(std::move(event)); }
  bool ReaderKeepsUp() const { return !outbox_.IsFull(); }
  bool closed() const { return outbox_.closed(); }

  /// Ends the stream with `status` after what was sent; later calls have no effect.
  void Close(const absl::Status& status) {
    if (outbox_.Close(status)) call_->SetStatus(status);
  }

  /// Drops what waits, ends the stream and the engine's request.
  void Abandon(const absl::Status& status) {
    if (!outbox_.Abandon(status)) return;
    call_->SetStatus(status);
    std::optional<engine::RequestId> running;
    {
      const std::lock_guard lock(mutex_);
      abandoned_ = true;
      running = id_;
    }
    if (running.has_value()) Cancel(*running);
  }

  /// The engine took the request under this id.
  void Started(engine::RequestId id) {
    bool abandoned = false;
    {
      const std::lock_guard lock(mutex_);
      id_ = id;
      abandoned = abandoned_;
    }
    // If the call was abandoned in between, there was no id to cancel.
    if (abandoned) Cancel(id);
  }

 private:
  void Cancel(engine::RequestId id) {
    if (const models::ModelPtr model = model_.lock()) model->runner().Cancel(id);
  }

  Service& service_;
  std::weak_ptr<const models::ServedModel> model_;  // set before the call is known to others
  const std::shared_ptr<Call> call_;
  Outbox<Event> outbox_;

  std::mutex mutex_;
  std::optional<engine::RequestId> id_;  // guarded by mutex_, as is the next
  bool abandoned_ = false;
};

}  // namespace fmaserver::service
