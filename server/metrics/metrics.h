// The metrics of a served model: counts what the engine reports. docs/metrics.md lists them.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "kernels/fma/slot_layout.h"
#include "server/engine/archive_pool.h"
#include "server/engine/observer.h"
#include "server/metrics/buckets.h"

namespace fmaserver::metrics {

/// What is known about the model before the first request.
struct ModelFacts {
  std::string name;                 ///< the label model_name of every series
  kernels::SlotLayout layout = {};  ///< an encoder has none, and its slots hold nothing
  int32_t slots = 0;
  int64_t weight_bytes = 0;
  const char* without_reason = "scored";  ///< how requests are counted that generate nothing
};

/// Thread-safe. Every series exists from the start, at zero, so that rates and dashboards have data
/// before the first request.
class Metrics final : public engine::EngineObserver, public prometheus::Collectable {
 public:
  explicit Metrics(const ModelFacts& facts, Now now = Clock::now);

  /// Sets the archives to ask, as long as they live; null: there are none. Call it before the first
  /// Collect().
  void Watch(const std::shared_ptr<const engine::ArchivePool>& archives);

  std::vector<prometheus::MetricFamily> Collect() const override;

  void OnStep(const engine::StepReport& step) override;
  void OnLoad(const engine::LoadReport& load) override;
  void OnFirstToken(double seconds) override;
  void OnNextToken(double seconds, int64_t position) override;
  void OnCacheLookup(int64_t prompt_tokens, int64_t cached_tokens) override;
  void OnEnd(const engine::EndReport& end) override;
  void OnRejected(engine::Rejection why) override;

 private:
  using Counter = prometheus::Counter;
  using Gauge = prometheus::Gauge;
  using Histogram = prometheus::Histogram;

  static constexpr size_t kFinishReasons = 4;

  void SetFacts(const ModelFacts& facts);
  prometheus::Labels ModelLabel() const { return {{"model_name", model_name_}}; }
  prometheus::Family<Counter>& CounterFamily(const char* name, const char* help);
  Counter& AddCounter(const char* name, const char* help);
  Gauge& AddGauge(const char* name, const char* help);
  prometheus::Family<Histogram>& HistogramFamily(const char* name, const char* help);
  Histogram& AddHistogram(const char* name, const char* help, const Histogram::BucketBoundaries&);

  const std::string model_name_;
  const int32_t slots_;
  const Now now_;
  std::atomic<Clock::time_point> last_step_;  // its end, or the start
  std::weak_ptr<const engine::ArchivePool> archives_;
  const std::shared_ptr<prometheus::Registry> registry_;

  // The registry owns them. Declared in the order in which the page shows them within their type.
  Gauge& running_;
  Gauge& waiting_;
  Gauge& slots_used_;
  Gauge& slots_utilization_;
  Gauge& prompt_tokens_unread_;
  Gauge& last_step_age_;
  Gauge& cache_bytes_;
  Gauge& archive_bytes_;
  Gauge& archive_budget_bytes_;

  Counter& prompt_tokens_;
  Counter& generated_tokens_;
  Counter& cache_queries_;
  Counter& cache_hits_;
  Counter& cancelled_;
  std::array<Counter*, kFinishReasons> finished_{};
  Counter* without_reason_ = nullptr;
  prometheus::Family<Counter>& failed_;
  prometheus::Family<Counter>& rejected_;

  Histogram& first_token_;
  std::array<Histogram*, kContextBuckets.size()> next_token_{};
  Histogram& end_to_end_;
  Histogram& queue_;
  Histogram& prefill_;
  Histogram& decode_;
  Histogram& request_prompt_tokens_;
  Histogram& request_generated_tokens_;
  Histogram& context_length_;
  Histogram& step_seconds_;
  Histogram& step_decode_rows_;
  Histogram& step_prompt_tokens_;
};

}  // namespace fmaserver::metrics
