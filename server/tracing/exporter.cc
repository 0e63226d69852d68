#include "server/tracing/exporter.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <string>
#include <utility>

#include "base/text.h"

namespace fmaserver::tracing {
namespace {

Clock::duration Seconds(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

/// So that servers which lost one collector together do not come back together.
double Jittered(double seconds) {
  thread_local std::minstd_rand random{std::random_device()()};
  return seconds * std::uniform_real_distribution<double>(0.5, 1)(random);
}

}  // namespace

Exporter::Exporter(const TracingPlan& plan, otlp::ResourceSpans resource,
                   std::shared_ptr<TraceCounts> counts, const ExporterOptions& options)
    : options_(options),
      resource_(std::move(resource)),
      counts_(std::move(counts)),
      collector_(plan),
      thread_([this] { Run(); }) {}

Exporter::~Exporter() {
  {
    Lock lock(mutex_);
    stopping_ = true;
    end_ = Clock::now() + Seconds(options_.patience);
    changed_.notify_all();
    changed_.wait_until(lock, end_, [this] { return done_; });
  }
  collector_.Cancel();
  thread_.join();
}

void Exporter::Offer(std::vector<otlp::Span> spans) {
  const std::lock_guard lock(mutex_);
  if (waiting_.size() + spans.size() > options_.max_waiting) {
    counts_->queue_full += std::ssize(spans);
    return;
  }
  const bool first = waiting_.empty();
  waiting_.insert(waiting_.end(), std::make_move_iterator(spans.begin()),
                  std::make_move_iterator(spans.end()));
  if (first || waiting_.size() >= options_.max_batch) changed_.notify_all();
}

void Exporter::Run() {
  while (true) {
    std::vector<otlp::Span> batch = TakeBatch();
    if (batch.empty()) break;
    Send(std::move(batch));
  }
  const std::lock_guard lock(mutex_);
  done_ = true;
  changed_.notify_all();
}

std::vector<otlp::Span> Exporter::TakeBatch() {
  Lock lock(mutex_);
  changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
  changed_.wait_for(lock, Seconds(options_.gathering),
                    [this] { return stopping_ || waiting_.size() >= options_.max_batch; });
  const auto size = static_cast<std::ptrdiff_t>(std::min(waiting_.size(), options_.max_batch));
  const auto end = waiting_.begin() + size;
  std::vector<otlp::Span> batch(std::make_move_iterator(waiting_.begin()),
                                std::make_move_iterator(end));
  waiting_.erase(waiting_.begin(), end);
  return batch;
}

void Exporter::Send(std::vector<otlp::Span> batch) {
  const int64_t size = std::ssize(batch);
  otlp::ExportTraceServiceRequest request;
  *request.add_resource_spans() = resource_;
  auto& spans = *request.mutable_resource_spans(0)->mutable_scope_spans(0)->mutable_spans();
  for (otlp::Span& span : batch) *spans.Add() = std::move(span);
  const Clock::time_point start = Clock::now();
  double pause = options_.first_pause;
  while (true) {
    const ExportOutcome outcome = Try(request);
    const int64_t rejected = std::clamp<int64_t>(outcome.rejected, 0, size);
    if (outcome.status.ok()) {
      counts_->exported += size - rejected;
      counts_->refused += rejected;
      return Tell(outcome, rejected);
    }
    if (!outcome.again) {
      counts_->refused += size;
      return Tell(outcome, size);
    }
    if (IsGivenUp(start)) {
      counts_->unreachable += size;
      return Tell(outcome, size);
    }
    Tell(outcome, 0);
    Pause(std::max(Jittered(pause), outcome.retry_after_seconds));
    pause = std::min(2 * pause, options_.longest_pause);
  }
}

ExportOutcome Exporter::Try(const otlp::ExportTraceServiceRequest& request) {
  Clock::time_point deadline = Clock::now() + Seconds(options_.timeout);
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) deadline = std::min(deadline, end_);
  }
  return collector_.Export(request, deadline);
}

// One line when it begins and one when it is over, however long it lasts.
void Exporter::Tell(const ExportOutcome& outcome, int64_t lost) {
  const bool fine = outcome.status.ok() && outcome.rejected <= 0;
  if (fine == healthy_) return;
  healthy_ = fine;
  if (fine) return spdlog::info("tracing: {} takes spans again", collector_.target());
  const std::string why = outcome.status.ok()
                              ? outcome.message
                              : Concat(absl::StatusCodeToString(outcome.status.code()), ": ",
                                       std::string(outcome.status.message()));
  spdlog::warn("tracing: {} does not take spans: {}; {} lost by now, calls are not affected",
               collector_.target(), why, lost);
}

/// Whether spans that are tried `since` then, and were not taken, are given up.
bool Exporter::IsGivenUp(Clock::time_point since) {
  const std::lock_guard lock(mutex_);
  return stopping_ || Clock::now() >= since + Seconds(options_.persistence);
}

void Exporter::Pause(double seconds) {
  Lock lock(mutex_);
  changed_.wait_for(lock, Seconds(seconds), [this] { return stopping_; });
}

}  // namespace fmaserver::tracing
