// Takes finished spans from every thread, and sends them to the collector from one of its own.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "server/tracing/attributes.h"
#include "server/tracing/collector.h"
#include "server/tracing/trace_counts.h"

namespace fmaserver::tracing {

/// Times are in seconds.
struct ExporterOptions {
  size_t max_waiting = 8192;  ///< spans; those that come when so many wait are dropped
  size_t max_batch = 512;     ///< spans of one export
  double gathering = 0.5;     ///< how long the first span of a batch waits for others
  double timeout = 10;        ///< of one export
  double first_pause = 1;     ///< before an export is tried again; then twice as long, up to
  double longest_pause = 15;
  double persistence = 60;  ///< how long the same spans are tried
  double patience = 2;      ///< for what waits at the end
};

/// Whatever the collector does, Offer never waits for it. Thread-safe.
class Exporter {
 public:
  /// `resource` says who sends.
  Exporter(const TracingPlan& plan, otlp::ResourceSpans resource,
           std::shared_ptr<TraceCounts> counts, const ExporterOptions& options = {});
  /// Sends what waits, once and as far as that is done within options.patience.
  ~Exporter();
  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;

  /// The spans of one call, which go together or not at all.
  void Offer(std::vector<otlp::Span> spans);

 private:
  using Lock = std::unique_lock<std::mutex>;

  void Run();
  /// What is to be sent next, and there is something unless the exporter stops.
  std::vector<otlp::Span> TakeBatch();
  void Send(std::vector<otlp::Span> batch);
  ExportOutcome Try(const otlp::ExportTraceServiceRequest& request);
  void Tell(const ExportOutcome& outcome, int64_t lost);
  bool IsGivenUp(Clock::time_point since);
  void Pause(double seconds);

  const ExporterOptions options_;
  const otlp::ResourceSpans resource_;
  const std::shared_ptr<TraceCounts> counts_;
  Collector collector_;
  bool healthy_ = true;  // the collector, as far as the log knows; of the thread alone

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<otlp::Span> waiting_;  // guarded by mutex_, as is all that follows
  bool stopping_ = false;
  Clock::time_point end_;  // once stopping
  bool done_ = false;      // the thread has sent what it could
  std::thread thread_;
};

}  // namespace fmaserver::tracing
