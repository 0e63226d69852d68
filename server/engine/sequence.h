// A live request: what it feeds next, what it makes of the logits, what it reports.
//
// Owned and used by the engine's thread alone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "kernels/sampling.h"
#include "server/engine/request.h"
#include "server/engine/slot_pool.h"

namespace fmaserver::engine {

using RequestId = uint64_t;

/// What a step made of one sequence's rows.
struct StepOutcome {
  std::span<const float> logits;  ///< [LogitsWanted(rows), vocab_size], unless something is chosen
  int64_t vocab_size = 0;
  const kernels::SampledRow* chosen = nullptr;  ///< by Choice()
};

class Sequence {
 public:
  /// The samples of one request share its id.
  Sequence(RequestId id, int32_t priority, Clock::time_point arrival)
      : id_(id), priority_(priority), arrival_(arrival) {}
  virtual ~Sequence() = default;
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  RequestId id() const { return id_; }
  int32_t priority() const { return priority_; }

  /// One of these is called once, when a slot is free. False: the sequence is over already, its
  /// sink told.
  bool Start(Slot slot) {
    slot_ = std::move(slot);
    started_ = Clock::now();
    return Begin();
  }
  /// Of a fork: begins where `parent` is, between steps.
  bool StartFrom(const Sequence& parent, Slot slot) {
    slot_ = std::move(slot);
    started_ = Clock::now();
    position_ = parent.position_;
    const absl::Status status = position_ > 0 ? slot_.CopyFrom(parent.slot_) : absl::OkStatus();
    if (status.ok()) return Begin();
    Fail(status);
    return false;
  }
  const Slot& slot() const { return slot_; }
  Clock::time_point started() const { return started_; }

  /// Tokens already in the cache; the position of the next one.
  int64_t position() const { return position_; }

  /// Whether the reader keeps up; if not, the sequence takes part in no step.
  virtual bool HasRoom() const = 0;

  /// Tokens known but not fed yet, as many as may be fed in one step; never empty while the
  /// sequence lives.
  virtual std::span<const int32_t> Pending() const = 0;

  /// Whether this is still reading its prompt: then a step takes a slice, else one row.
  virtual bool Reading() const = 0;

  /// How many of the last rows need logits when the next `rows` pending tokens are fed.
  virtual int32_t LogitsWanted(int32_t rows) const = 0;

  /// How to choose, where the logits are, the token that they lead to; absent: the sequence must
  /// have the logits themselves. Asked only for a step that gives it logits; spans into the
  /// sequence.
  virtual std::optional<kernels::RowSampling> Choice() { return std::nullopt; }

  /// `rows` tokens were fed, with this outcome. Returns false when the sequence is over; then it
  /// has told its sink.
  virtual bool Advance(int32_t rows, const StepOutcome& outcome) = 0;

  /// Other samples of the same request, which begin where this one is now; each needs a slot of its
  /// own. One that must wait for it gets the state with which Start() can begin; null: none.
  virtual std::vector<std::unique_ptr<Sequence>> TakeForks() { return {}; }
  virtual void KeepForStart(const SnapshotPtr& /*state*/) {}

  /// The state of the slot, null before the first token. Between steps only.
  absl::StatusOr<SnapshotPtr> State() const {
    return position_ > 0 ? slot_.Save(position_) : absl::StatusOr<SnapshotPtr>(nullptr);
  }

  virtual void Fail(const absl::Status& status) = 0;

  /// Ends the sequence because the engine shuts down; `status` says so.
  virtual void Interrupt(const absl::Status& status) { Fail(status); }

  /// Since when it waits for its reader; the engine's own note.
  std::optional<Clock::time_point> paused_since;

 protected:
  virtual bool Begin() { return true; }

  Clock::time_point arrival() const { return arrival_; }
  void AddFed(int32_t rows) { position_ += rows; }

  absl::Status Restore(const Snapshot& snapshot) {
    position_ = snapshot.tokens();
    return slot_.Restore(snapshot);
  }

 private:
  const RequestId id_;
  const int32_t priority_;
  const Clock::time_point arrival_;
  Clock::time_point started_;
  Slot slot_;
  int64_t position_ = 0;
};

}  // namespace fmaserver::engine
