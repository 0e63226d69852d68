#include "bench/load/stream.h"

#include <chrono>

namespace fmaserver::bench {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

double NowSeconds() { return Seconds(Clock::now().time_since_epoch()).count(); }

void CallGroup::Cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  for (grpc::ClientContext* call : calls_) call->TryCancel();
  wake_.notify_all();
}

bool CallGroup::Cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancelled_;
}

bool CallGroup::SleepUntil(double time) {
  const Clock::time_point until(std::chrono::duration_cast<Clock::duration>(Seconds(time)));
  std::unique_lock lock(mutex_);
  return !wake_.wait_until(lock, until, [this] { return cancelled_; });
}

GroupedCall::GroupedCall(CallGroup& group, double timeout_seconds) : group_(group) {
  if (timeout_seconds > 0) {
    context_.set_deadline(
        std::chrono::system_clock::now() +
        std::chrono::duration_cast<std::chrono::system_clock::duration>(Seconds(timeout_seconds)));
  }
  const std::lock_guard lock(group_.mutex_);
  group_.calls_.insert(&context_);
  if (group_.cancelled_) context_.TryCancel();
}

GroupedCall::~GroupedCall() {
  const std::lock_guard lock(group_.mutex_);
  group_.calls_.erase(&context_);
}

StreamRecord MeasureStream(client::Client& client, CallGroup& group,
                           const v1::GenerateRequest& request, double due, double timeout_seconds,
                           LiveCounts& live) {
  StreamRecord record;
  record.due = due;
  GroupedCall call(group, timeout_seconds);
  ++live.running;
  record.status =
      client.Generate(call.context(), request, [&](const v1::GenerateResponse& response) {
        if (response.has_progress()) {
          record.progress.push_back(response.progress().processed_tokens());
        } else if (response.has_delta() && response.delta().token_ids_size() > 0) {
          record.deltas.push_back(NowSeconds());
          if (record.deltas.size() == 1) ++live.decoding;
          const auto tokens = static_cast<uint64_t>(response.delta().token_ids_size());
          record.generated_tokens += tokens;
          live.generated_tokens += tokens;
        } else if (response.has_finished()) {
          record.usage = response.finished().usage();
        }
      });
  record.end = NowSeconds();
  --live.running;
  ++(record.status.ok() ? live.done : live.failed);
  return record;
}

}  // namespace fmaserver::bench
