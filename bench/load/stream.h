// One measured Generate call, and a group of calls that end together.
#pragma once

#include <grpcpp/client_context.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "clients/cpp/client.h"

namespace fmaserver::bench {

/// The time in seconds on a clock that never jumps.
double NowSeconds();

/// Cancels calls from another thread. Thread-safe.
class CallGroup {
 public:
  /// Cancels the running calls and all later ones, and ends every sleep.
  void Cancel();
  bool Cancelled() const;

  /// Sleeps until NowSeconds() is `time`. False when the group was cancelled.
  bool SleepUntil(double time);

 private:
  friend class GroupedCall;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::set<grpc::ClientContext*> calls_;
  bool cancelled_ = false;
};

/// A context that belongs to `group` for as long as it lives.
class GroupedCall {
 public:
  /// `timeout_seconds` = 0: no deadline.
  GroupedCall(CallGroup& group, double timeout_seconds);
  ~GroupedCall();
  GroupedCall(const GroupedCall&) = delete;
  GroupedCall& operator=(const GroupedCall&) = delete;

  grpc::ClientContext& context() { return context_; }

 private:
  CallGroup& group_;
  grpc::ClientContext context_;
};

/// What the client saw of one call; times are those of NowSeconds().
struct StreamRecord {
  double due = 0;  ///< when it should have been sent: latencies count from here
  double end = 0;
  /// When each delta arrived. A delta is a single token unless the client reads too slowly.
  std::vector<double> deltas;
  /// How many prompt tokens had been processed at each progress message.
  std::vector<uint64_t> progress;
  uint64_t generated_tokens = 0;
  v1::Usage usage;  ///< only when status is OK
  absl::Status status;
};

/// Numbers for a live display, updated while calls run.
struct LiveCounts {
  std::atomic<int64_t> running{0};
  std::atomic<int64_t> done{0};
  std::atomic<int64_t> failed{0};
  std::atomic<uint64_t> generated_tokens{0};
  std::atomic<int64_t> decoding{0};  ///< calls that have had their first token, ended ones included
};

/// Returns when the stream has ended.
StreamRecord MeasureStream(client::Client& client, CallGroup& group,
                           const v1::GenerateRequest& request, double due, double timeout_seconds,
                           LiveCounts& live);

}  // namespace fmaserver::bench
