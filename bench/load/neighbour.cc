#include "bench/load/neighbour.h"

#include <algorithm>
#include <cmath>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace fmaserver::bench {
namespace {

constexpr int64_t kAloneTokens = 32'768;
constexpr int64_t kEndless = 1'000'000'000;
constexpr double kPollSeconds = 0.01;

/// Streams that generate on their own threads until they are stopped.
class Streams {
 public:
  Streams(int count, const RequestSource& source, Servers servers)
      : records_(static_cast<size_t>(count)) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this, i, servers, request = source.Make(i, 1, kEndless)] {
        records_[i] = MeasureStream(servers.Of(i), group_, request, NowSeconds(), 0, live_);
        ++ended_;
      });
    }
  }
  ~Streams() { Stop(); }
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;

  bool AllDecode() const { return live_.decoding == static_cast<int64_t>(records_.size()); }
  bool AnyEnded() const { return ended_ > 0; }

  /// After it, the records are complete.
  const std::vector<StreamRecord>& Stop() {
    group_.Cancel();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    return records_;
  }

 private:
  CallGroup group_;
  LiveCounts live_;
  std::atomic<int> ended_{0};
  std::vector<StreamRecord> records_;
  std::vector<std::thread> threads_;
};

/// The gaps that lie entirely in [from, to].
Latencies Gaps(const std::vector<StreamRecord>& records, double from, double to) {
  std::vector<double> gaps;
  for (const StreamRecord& record : records) {
    for (size_t i = 1; i < record.deltas.size(); ++i) {
      if (record.deltas[i - 1] >= from && record.deltas[i] <= to) {
        gaps.push_back(record.deltas[i] - record.deltas[i - 1]);
      }
    }
  }
  return Latencies::Of(std::move(gaps));
}

absl::Status Precondition(Streams& streams) {
  for (const StreamRecord& record : streams.Stop()) {
    if (!record.status.ok() && !absl::IsCancelled(record.status)) return record.status;
  }
  return absl::FailedPreconditionError(
      "a stream ended before the prompt was read: the model's positions are limited");
}

void CountSlices(const StreamRecord& record, NeighbourResult& result) {
  // A prompt that is a single slice has no progress messages.
  const auto tokens = static_cast<int64_t>(record.usage.prompt_tokens());
  result.slice_tokens =
      record.progress.empty() ? tokens : static_cast<int64_t>(record.progress.front());
  const int64_t slices = (tokens + result.slice_tokens - 1) / result.slice_tokens;
  result.slice_seconds = record.usage.prefill_seconds() / static_cast<double>(slices);
}

/// Reads a prompt and generates one token.
class Reader {
 public:
  Reader(const RequestSource& source, Servers servers, CallGroup& group)
      : source_(source), servers_(servers), group_(group) {}

  /// Different numbers have different prompts, so that none finds another in the prefix cache.
  StreamRecord Read(int64_t number, int64_t tokens) {
    const v1::GenerateRequest request = source_.Make(number, tokens, 1);
    if (servers_.prefill == nullptr) return Measure(servers_.Of(0), request);
    return ReadElsewhere(request);
  }

 private:
  StreamRecord Measure(client::Client& client, const v1::GenerateRequest& request) {
    return MeasureStream(client, group_, request, NowSeconds(), 0, live_);
  }

  /// What is known of the prompt is from the server that read it, the token from the other.
  StreamRecord ReadElsewhere(v1::GenerateRequest request) {
    const auto session = Create(request.model());
    StreamRecord record;
    record.status = session.status();
    if (!session.ok()) return record;
    request.set_session_id(*session);
    request.set_max_tokens(0);
    record = Measure(*servers_.prefill, request);
    if (record.status.ok()) {
      request.clear_prompt();
      request.set_max_tokens(1);
      const StreamRecord generated = Measure(servers_.Of(0), request);
      record.status = generated.status;
      record.deltas = generated.deltas;
      record.end = generated.end;
    }
    Delete(request);
    return record;
  }

  absl::StatusOr<std::string> Create(const std::string& model) {
    v1::CreateSessionRequest request;
    request.set_model(model);
    GroupedCall call(group_, 0);
    const auto session = servers_.prefill->CreateSession(call.context(), request);
    if (!session.ok()) return session.status();
    return session->session_id();
  }

  void Delete(const v1::GenerateRequest& turn) {
    v1::DeleteSessionRequest request;
    request.set_model(turn.model());
    request.set_session_id(turn.session_id());
    GroupedCall call(group_, 0);
    servers_.Of(0).DeleteSession(call.context(), request).IgnoreError();
  }

  const RequestSource& source_;
  const Servers servers_;
  CallGroup& group_;
  LiveCounts live_;
};

}  // namespace

absl::StatusOr<NeighbourResult> RunNeighbour(const NeighbourPlan& plan, const RequestSource& source,
                                             Servers servers, CallGroup& group) {
  NeighbourResult result;
  Reader reader(source, servers, group);
  const StreamRecord alone = reader.Read(-1, std::min(plan.prompt_tokens, kAloneTokens));
  if (!alone.status.ok()) return alone.status;
  CountSlices(alone, result);

  Streams streams(plan.streams, source, servers);
  while (!streams.AllDecode()) {
    if (streams.AnyEnded()) return Precondition(streams);
    if (!group.SleepUntil(NowSeconds() + kPollSeconds)) return absl::CancelledError("interrupted");
  }
  const double begin = NowSeconds();
  if (!group.SleepUntil(begin + plan.alone_seconds)) return absl::CancelledError("interrupted");

  const double load_begin = NowSeconds();
  const StreamRecord loaded = reader.Read(-2, plan.prompt_tokens);
  if (!loaded.status.ok()) return loaded.status;
  if (streams.AnyEnded()) return Precondition(streams);
  const double load_end = loaded.deltas.front();
  const std::vector<StreamRecord>& records = streams.Stop();
  result.alone = Gaps(records, begin, load_begin);
  result.loading = Gaps(records, load_begin, load_end);
  result.load_seconds = load_end - load_begin;
  return result;
}

}  // namespace fmaserver::bench
