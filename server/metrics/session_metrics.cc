#include "server/metrics/session_metrics.h"

#include <prometheus/family.h>
#include <prometheus/metric_family.h>

#include "server/metrics/buckets.h"

namespace fmaserver::metrics {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

namespace {

/// A gauge with one series for each value of `label`.
class GaugeFamily {
 public:
  GaugeFamily(const char* name, const char* help, const std::string& model, const char* label)
      : family_{name, help, MetricType::Gauge, {}}, model_(model), label_(label) {}

  void Add(const char* value, int64_t amount) {
    ClientMetric metric;
    metric.label = {{"model_name", model_}, {label_, value}};
    metric.gauge.value = static_cast<double>(amount);
    family_.metric.push_back(std::move(metric));
  }
  MetricFamily Take() { return std::move(family_); }

 private:
  MetricFamily family_;
  const std::string& model_;
  const char* label_;
};

}  // namespace

SessionMetrics::SessionMetrics(const std::string& model_name)
    : model_name_(model_name),
      save_(AddHistogram("fma_session_save_seconds", "Making a session durable.")),
      restore_(AddHistogram("fma_session_restore_seconds", "Reading a session's state from disk.")),
      fork_(AddHistogram("fma_session_fork_seconds", "Forking a session, all children together.")),
      rewind_(AddHistogram("fma_session_rewind_seconds", "Setting a session back.")),
      store_call_(AddHistogram("fma_session_store_call_seconds",
                               "Calls of the session store on the network.")),
      store_failures_(AddCounter("fma_session_store_failures_total",
                                 "Calls that the session store on the network did not fulfil.")),
      save_failures_(AddCounter("fma_session_save_failures_total",
                                "Sessions that could not be saved and go on in memory.")),
      forks_(AddCounter("fma_session_forks_total", "Sessions made by forking.")) {}

void SessionMetrics::OnStoreCall(double seconds, bool answered) {
  store_call_.Observe(seconds);
  if (!answered) store_failures_.Increment();
  store_state_ = answered ? StoreState::kAnswers : StoreState::kFails;
}

std::vector<MetricFamily> SessionMetrics::Collect() const {
  std::vector<MetricFamily> families = registry_.Collect();
  if (const StoreState state = store_state_; state != StoreState::kUnused) {
    families.push_back({"fma_session_store_up",
                        "Whether the session store did what it was asked for last.",
                        MetricType::Gauge,
                        {}});
    ClientMetric& metric = families.back().metric.emplace_back();
    metric.label = {{"model_name", model_name_}};
    metric.gauge.value = state == StoreState::kAnswers ? 1 : 0;
  }
  const std::shared_ptr<const sessions::SessionStore> store = store_.lock();
  if (store == nullptr) return families;
  const sessions::SessionStats stats = store->Stats();
  GaugeFamily sessions("fma_sessions", "Sessions by where they are.", model_name_, "state");
  sessions.Add("active", stats.active);
  sessions.Add("memory", stats.in_memory);
  sessions.Add("disk", stats.on_disk);
  families.push_back(sessions.Take());
  GaugeFamily bytes("fma_session_state_bytes",
                    "States of sessions, each once though shared, by place.", model_name_, "place");
  bytes.Add("memory", stats.memory_bytes);
  bytes.Add("disk", stats.disk_bytes);
  families.push_back(bytes.Take());
  return families;
}

prometheus::Counter& SessionMetrics::AddCounter(const char* name, const char* help) {
  return prometheus::BuildCounter()
      .Name(name)
      .Help(help)
      .Labels(ModelLabel())
      .Register(registry_)
      .Add({});
}

prometheus::Histogram& SessionMetrics::AddHistogram(const char* name, const char* help) {
  return prometheus::BuildHistogram()
      .Name(name)
      .Help(help)
      .Labels(ModelLabel())
      .Register(registry_)
      .Add({}, StepSecondsBuckets());
}

}  // namespace fmaserver::metrics
