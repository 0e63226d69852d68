// A live request: what it feeds next, what it makes of the logits, what it reports.
//
// Owned and used by the engine's thread alone once it no longer waits.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "base/clock.h"
#include "kernels/sampling.h"
#include "server/engine/request.h"
#include "server/engine/request_times.h"
#include "server/engine/slot_pool.h"

namespace fmaserver::engine {

using RequestId = uint64_t;

/// What a step made of one sequence's rows.
struct StepOutcome {
  std::span<const float> logits =
      {};  ///< [LogitsWanted(rows), vocab_size], unless something is chosen
  int64_t vocab_size = 0;
  const kernels::SampledRow* chosen = nullptr;  ///< by Choice()
};

/// Where another sample of a request begins: where the one that read the prompt is now.
struct Fork {
  int32_t index = 0;       ///< which sample, from 1
  SnapshotPtr state = {};  ///< null: the slot that it starts with is a copy of the other's
};

class Sequence {
 public:
  /// The samples of one request share its id. `position`: tokens that the cache holds when it
  /// starts, unless it finds a better state by then.
  Sequence(RequestId id, int32_t priority, Clock::time_point arrival, int64_t position)
      : id_(id), priority_(priority), times_(arrival), position_(position) {}
  virtual ~Sequence() = default;
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  RequestId id() const { return id_; }
  int32_t priority() const { return priority_; }
  const RequestTimes& times() const { return times_; }

  /// Called once, when a slot is free. False: the sequence is over already, its sink told.
  bool Start(Slot slot) {
    slot_ = std::move(slot);
    times_.Start(Clock::now());
    return Begin();
  }
  const Slot& slot() const { return slot_; }

  /// Tokens already in the cache; the position of the next one.
  int64_t position() const { return position_; }

  /// Whether the reader keeps up; if not, the sequence takes part in no step.
  virtual bool HasRoom() const = 0;

  /// Tokens of its prompt that must be read before anything is chosen.
  virtual int64_t PromptLeft() const = 0;

  /// Whether this is still reading its prompt: then a step takes a slice, else all that pends.
  bool Reading() const { return PromptLeft() > 0; }

  /// Tokens known but not fed yet, as many as may be fed in one step; never empty while the
  /// sequence lives.
  virtual std::span<const int32_t> Pending() const = 0;

  /// How many of the last rows need logits when the next `rows` pending tokens are fed.
  virtual int32_t LogitsWanted(int32_t rows) const = 0;

  /// How to choose, where the logits are, the token that they lead to; absent: the sequence must
  /// have the logits themselves. Asked only for a step that gives it one row of logits; spans into
  /// the sequence.
  virtual std::optional<kernels::RowSampling> Choice() { return std::nullopt; }

  /// The first `accepted` of the pending tokens that were fed are in the cache, with this outcome.
  /// Returns false when the sequence is over; then it has told its sink.
  virtual bool Advance(int32_t accepted, const StepOutcome& outcome) = 0;

  /// How many other samples of the same request begin where this one is now, also if it is over.
  /// Asked after each Start() and Advance(); each is to be made by MakeFork(), 1 to TakeForks().
  virtual int32_t TakeForks() { return 0; }
  virtual std::unique_ptr<Sequence> MakeFork(const Fork& /*fork*/) const { return nullptr; }

  /// The state of the slot, null before the first token. Between steps only.
  absl::StatusOr<SnapshotPtr> State() const {
    return position_ > 0 ? slot_.Save(position_) : absl::StatusOr<SnapshotPtr>(nullptr);
  }

  virtual void Fail(const absl::Status& status) = 0;

  /// Ends the sequence because the engine shuts down; `status` says so.
  virtual void Interrupt(const absl::Status& status) { Fail(status); }

 protected:
  virtual bool Begin() { return true; }

  RequestTimes& mutable_times() { return times_; }
  void AddFed(int32_t rows) { position_ += rows; }

  absl::Status Restore(const Snapshot& snapshot) {
    position_ = snapshot.tokens();
    return slot_.Restore(snapshot);
  }

 private:
  const RequestId id_;
  const int32_t priority_;
  RequestTimes times_;
  Slot slot_;
  int64_t position_;
};

}  // namespace fmaserver::engine
