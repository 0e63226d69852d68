// A live request: what it feeds next, what it makes of the logits, what it reports.
//
// Owned and used by the engine's thread alone.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "server/engine/request.h"
#include "server/engine/slot_pool.h"

namespace fmaserver {

using RequestId = uint64_t;
using Clock = std::chrono::steady_clock;

class Sequence {
 public:
  Sequence(RequestId id, Clock::time_point arrival) : id_(id), arrival_(arrival) {}
  virtual ~Sequence() = default;
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  RequestId id() const { return id_; }

  /// Called once, when a slot is free.
  void Start(Slot slot) {
    slot_ = std::move(slot);
    started_ = Clock::now();
  }
  std::byte* slot() const { return slot_.data(); }

  /// Tokens already in the cache; the position of the next one.
  int64_t position() const { return position_; }

  /// Tokens known but not fed yet; never empty while the sequence lives.
  virtual std::span<const int32_t> Pending() const = 0;

  /// Whether this is still reading its prompt: then a step takes a slice, else one row.
  virtual bool Reading() const = 0;

  /// How many of the last rows need logits when the next `rows` pending tokens are fed.
  virtual int32_t LogitsWanted(int32_t rows) const = 0;

  /// `rows` tokens were fed and gave `logits` [LogitsWanted(rows), vocab_size]. Returns false when
  /// the sequence is over; then it has told its sink.
  virtual bool Advance(int32_t rows, std::span<const float> logits, int64_t vocab_size) = 0;

  virtual void Fail(const absl::Status& status) = 0;

 protected:
  Clock::time_point arrival() const { return arrival_; }
  Clock::time_point started() const { return started_; }
  void AddFed(int32_t rows) { position_ += rows; }

 private:
  const RequestId id_;
  const Clock::time_point arrival_;
  Clock::time_point started_;
  Slot slot_;
  int64_t position_ = 0;
};

inline double SecondsBetween(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace fmaserver
