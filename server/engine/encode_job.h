// A live request of an encoder: which of its texts are to be read next, and what it reports.
//
// Once it no longer waits, only the engine's thread owns and uses it.
#pragma once

#include <cstdint>
#include <iterator>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/engine/encode_request.h"
#include "server/engine/observer.h"
#include "server/engine/request_times.h"

namespace fmaserver::engine {

class EncodeJob {
 public:
  /// `request` is valid. `observer` outlives the job.
  EncodeJob(RequestId id, EncodeRequest request, std::shared_ptr<EncodeSink> sink,
            EngineObserver& observer);

  RequestId id() const { return id_; }
  /// All are equal: the first that came is the first.
  static int32_t priority() { return 0; }
  const RequestTimes& times() const { return times_; }
  int32_t candidates() const { return request_.candidates; }

  /// Tokens of texts that are not done.
  int64_t PromptLeft() const { return tokens_left_; }

  void Start() { times_.Start(Clock::now()); }

  bool KeepsUp() const { return sink_->KeepsUp(); }
  bool HasNext() const { return next_ < std::ssize(request_.texts); }
  /// The text after so many more that nobody reads yet; empty: there is none.
  std::span<const int32_t> After(int64_t more) const {
    return next_ + more < std::ssize(request_.texts) ? Text(next_ + more)
                                                     : std::span<const int32_t>();
  }
  /// Takes the first of them, and returns its index.
  int64_t Take() { return next_++; }
  std::span<const int32_t> Text(int64_t index) const {
    return request_.texts[static_cast<size_t>(index)];
  }

  /// One of the texts is done. Returns false when the job is over; then it has told its sink.
  bool Report(EncodedText text);
  void Fail(const absl::Status& status);

 private:
  Usage CurrentUsage() const;
  void ReportEnd(absl::StatusCode code, const Usage& usage);

  const RequestId id_;
  const EncodeRequest request_;
  const std::shared_ptr<EncodeSink> sink_;
  EngineObserver& observer_;
  const int64_t tokens_;
  RequestTimes times_;
  int64_t tokens_left_;
  int64_t next_ = 0;
  int64_t unfinished_;
};

}  // namespace fmaserver::engine
