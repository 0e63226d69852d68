// One streaming call between the engine and gRPC: a reactor with an outbox.
//
// Ownership: gRPC uses the call until OnDone, the engine holds it as a sink until the request ends.
// The call is a shared_ptr that also holds itself until OnDone, so it lives as long as the later of
// the two; once closed it ignores whatever the engine still says.
//
// Threads: the engine thread sends, gRPC's threads report writes and cancellation; one mutex guards
// all state and nothing blocks under it. At most one write is in flight; meanwhile messages wait
// and are merged where their kind allows it, and while too much waits the engine pauses the
// request.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "server/rpc/byte_buffer.h"
#include "server/rpc/status.h"

namespace fmaserver::rpc {

template <class Response>
class StreamCall : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  /// Waiting messages are merged up to this size, well below the 4 MiB that clients accept.
  static constexpr size_t kMaxMergedBytes = size_t{256} << 10;
  /// While this much waits for a slow reader, its request pauses.
  static constexpr size_t kMaxPendingBytes = size_t{1} << 20;

  void OnWriteDone(bool ok) final {
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      const bool was_full = !KeepsUp();
      if (ok) Pump();
      if (ok && !(was_full && KeepsUp())) return;
    }
    if (ok) {
      engine_.Wake();
    } else {
      Abandon(absl::CancelledError("the client went away"));
    }
  }

  void OnCancel() final { Abandon(absl::CancelledError("the client cancelled the call")); }

  void OnDone() final { self_.reset(); }

 protected:
  /// `engine` outlives every call.
  explicit StreamCall(engine::Engine& engine) : engine_(engine) {}

  engine::Engine& engine() { return engine_; }

  /// Hands the reactor to gRPC, which frees it after the end. Headers go out at once: a client
  /// learns that its call is heard before a long prompt is read.
  template <class Call>
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Open(const std::shared_ptr<Call>& call) {
    StreamCall& self = *call;
    self.self_ = call;
    self.StartSendInitialMetadata();
    return call.get();
  }

  /// Submits `request` with `call`, which is open, as its sink; an error ends the call instead.
  template <class Call, class Request>
  static void Submit(const std::shared_ptr<Call>& call, absl::StatusOr<Request> request) {
    StreamCall& self = *call;
    self.Started(request.ok() ? self.engine_.Submit(*std::move(request), call) : request.status());
  }

  void Send(Response response) {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    Enqueue(std::move(response));
    Pump();
  }

  /// Whether there is room for more messages. Takes no lock: the engine asks at every step.
  bool KeepsUp() const { return pending_bytes_ < kMaxPendingBytes; }

  /// Ends the stream with `status` after what was sent; later calls have no effect.
  void Close(const absl::Status& status) {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
    status_ = status;
    OnStatus(status);
    Pump();
  }

  /// Drops what waits, ends the stream and the engine's request.
  void Abandon(const absl::Status& status) {
    std::optional<engine::RequestId> running;
    {
      const std::lock_guard lock(mutex_);
      pending_.clear();
      pending_bytes_ = 0;
      if (!closed_) {
        closed_ = true;
        abandoned_ = true;
        status_ = status;
        OnStatus(status);
        running = id_;
      }
      Pump();
    }
    if (running.has_value()) engine_.Cancel(*running);
  }

 private:
  struct Pending {
    Response response;
    size_t bytes = 0;
  };

  /// The call has its last word. Once, under a lock: must not call back.
  virtual void OnStatus(const absl::Status& /*status*/) {}

  /// Folds `next` into the waiting `last` if a reader loses nothing by it.
  virtual bool Merge(Response& last, const Response& next) = 0;

  void Started(const absl::StatusOr<engine::RequestId>& id) {
    if (!id.ok()) return Close(id.status());
    bool abandoned = false;
    {
      const std::lock_guard lock(mutex_);
      id_ = *id;
      abandoned = abandoned_;
    }
    // Whoever abandoned the call in between had no id to cancel.
    if (abandoned) engine_.Cancel(*id);
  }

  // Needs mutex_.
  void Enqueue(Response response) {
    const size_t bytes = response.ByteSizeLong();
    pending_bytes_ += bytes;
    if (!pending_.empty() && pending_.back().bytes + bytes <= kMaxMergedBytes &&
        Merge(pending_.back().response, response)) {
      pending_.back().bytes += bytes;
    } else {
      pending_.push_back({std::move(response), bytes});
    }
  }

  // Needs mutex_. Starts the next write, or the end; gRPC never calls back from within either.
  void Pump() {
    if (writing_ || finished_) return;
    if (!pending_.empty()) {
      in_flight_ = SerializeMessage(pending_.front().response);
      pending_bytes_ -= pending_.front().bytes;
      pending_.pop_front();
      writing_ = true;
      StartWrite(&in_flight_);
    } else if (closed_) {
      finished_ = true;
      Finish(ToGrpcStatus(status_));
    }
  }

  engine::Engine& engine_;
  std::shared_ptr<StreamCall> self_;

  std::mutex mutex_;
  std::optional<engine::RequestId> id_;
  std::deque<Pending> pending_;
  std::atomic<size_t> pending_bytes_ = 0;  // written under mutex_
  grpc::ByteBuffer in_flight_;
  bool writing_ = false;
  bool closed_ = false;     // no more messages; status_ is the last word
  bool abandoned_ = false;  // closed from this side while the engine was still at work
  bool finished_ = false;   // Finish was called: the reactor must not be used again
  absl::Status status_;
};

}  // namespace fmaserver::rpc
