// A live request: which tokens it feeds next, what it does with their logits, what it reports.
//
// Once it no longer waits, only the engine's thread owns and uses it.
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
#include "server/engine/sequence_archive.h"
#include "server/engine/slot_pool.h"

namespace fmaserver::engine {

/// What a step computed from one sequence's rows.
struct StepOutcome {
  std::span<const float> logits =
      {};  ///< [LogitsWanted(rows), vocab_size], unless something is chosen
  int64_t vocab_size = 0;
  const kernels::SampledRow* chosen = nullptr;   ///< by Choice()
  std::span<const float> unit_weights = {};      ///< by UnitWeights()
  std::span<const float> attention_shares = {};  ///< by SharesOfAttention()
};

/// Where another sample of a request begins: where the sample that read the prompt is now.
struct Fork {
  int32_t index = 0;  ///< which sample, from 1
  State state = {};   ///< without a slot: it starts with a copy of the other's
};

class Sequence {
 public:
  /// The samples of one request share its id. `position` is the number of tokens in the cache when
  /// the sequence starts, unless it finds a better state by then; `archive` is what it has then.
  Sequence(RequestId id, int32_t priority, Clock::time_point arrival, int64_t position,
           SequenceArchive archive)
      : id_(id),
        priority_(priority),
        times_(arrival),
        position_(position),
        archive_(std::move(archive)) {}
  virtual ~Sequence() = default;
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  RequestId id() const { return id_; }
  int32_t priority() const { return priority_; }
  const RequestTimes& times() const { return times_; }

  /// Called once, when a slot is free. False: the sequence is already over and has told its sink.
  bool Start(Slot slot) {
    slot_ = std::move(slot);
    times_.Start(Clock::now());
    return Begin();
  }
  const Slot& slot() const { return slot_; }

  /// The number of tokens in the cache, which is the position of the next one.
  int64_t position() const { return position_; }

  /// Whether the reader keeps up; if not, the sequence takes part in no step.
  virtual bool KeepsUp() const = 0;

  /// How many tokens of its prompt must be read before a token can be chosen.
  virtual int64_t PromptLeft() const = 0;

  /// Whether it is still reading its prompt: then a step may take any slice of the pending tokens,
  /// else it takes all of them.
  bool Reading() const { return PromptLeft() > 0; }

  /// The tokens that are known but not fed yet, as many as may be fed in one step; never empty
  /// while the sequence lives.
  virtual std::span<const int32_t> Pending() const = 0;

  /// How many of the last rows need logits when the next `rows` pending tokens are fed.
  virtual int32_t LogitsWanted(int32_t rows) const = 0;

  /// Where a step is to add what its last row gives to the units that it opens
  /// (kernels::Segment::unit_weights): `size` zeros of the sequence; empty: it does not want to
  /// know.
  virtual std::span<float> UnitWeights(size_t /*size*/) { return {}; }

  /// The same for how it divides its attention (kernels::Segment::attention_shares).
  virtual std::span<float> SharesOfAttention(size_t /*size*/) { return {}; }

  /// How to choose the next token where the logits are; absent: the sequence must have the logits
  /// itself. Called only for a step with one row of logits; has spans into the sequence.
  virtual std::optional<kernels::RowSampling> Choice() { return std::nullopt; }

  /// Says that the first `accepted` of the pending tokens are in the cache now, with this outcome.
  /// Returns false when the sequence is over; then it has told its sink.
  virtual bool Advance(int32_t accepted, const StepOutcome& outcome) = 0;

  /// How many other samples of the same request begin where this one is now, even if it is over.
  /// Asked after each Start() and Advance(); each is to be made by MakeFork(), 1 to TakeForks().
  virtual int32_t TakeForks() { return 0; }
  virtual std::unique_ptr<Sequence> MakeFork(const Fork& /*fork*/) const { return nullptr; }

  const SequenceArchive& archive() const { return archive_; }
  /// SequenceArchive::GroupsFor a step that feeds the next `rows` tokens.
  auto GroupsForNext(int32_t rows) { return archive_.GroupsFor(position_ + rows); }

  /// The state as it is now; it has no slot before the first token. Only between steps.
  absl::StatusOr<State> CurrentState() const {
    if (position_ == 0) return State();
    absl::StatusOr<SnapshotPtr> bytes = slot_.Save(position_);
    if (!bytes.ok()) return bytes.status();
    return State(*std::move(bytes), archive_.At(position_));
  }

  virtual void Fail(const absl::Status& status) = 0;

  /// Ends the sequence with `status` because the engine shuts down.
  virtual void Interrupt(const absl::Status& status) { Fail(status); }

 protected:
  virtual bool Begin() { return true; }

  RequestTimes& mutable_times() { return times_; }
  void AddFed(int32_t rows) { position_ += rows; }

  /// `state` has a slot.
  absl::Status Restore(const State& state) {
    position_ = state.tokens();
    archive_.Start(state.archive);
    return slot_.Restore(*state.slot);
  }

 private:
  const RequestId id_;
  const int32_t priority_;
  RequestTimes times_;
  Slot slot_;
  int64_t position_;
  SequenceArchive archive_;
};

}  // namespace fmaserver::engine
