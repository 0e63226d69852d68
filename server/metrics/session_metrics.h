// The metrics of the session store. docs/metrics.md lists them.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/sessions/session_store.h"
#include "server/sessions/session_types.h"

namespace fmaserver::metrics {

/// Thread-safe. Counts what the store reports, and asks the store at each scrape how many sessions
/// there are.
class SessionMetrics final : public sessions::SessionObserver, public prometheus::Collectable {
 public:
  /// `model_name` is the label of every series.
  explicit SessionMetrics(const std::string& model_name);

  /// Sets the store to ask, as long as it lives. Call it before the first Collect().
  void Watch(std::weak_ptr<const sessions::SessionStore> store) { store_ = std::move(store); }

  std::vector<prometheus::MetricFamily> Collect() const override;

  void OnSave(double seconds) override { save_.Observe(seconds); }
  void OnSaveFailed() override { save_failures_.Increment(); }
  void OnRestore(double seconds) override { restore_.Observe(seconds); }
  void OnFork(int64_t children, double seconds) override {
    forks_.Increment(static_cast<double>(children));
    fork_.Observe(seconds);
  }
  void OnRewind(double seconds) override { rewind_.Observe(seconds); }
  void OnStoreCall(double seconds, bool answered) override;

 private:
  prometheus::Counter& AddCounter(const char* name, const char* help);
  prometheus::Histogram& AddHistogram(const char* name, const char* help);
  prometheus::Labels ModelLabel() const { return {{"model_name", model_name_}}; }

  const std::string model_name_;
  prometheus::Registry registry_;  // owns the series below
  prometheus::Histogram& save_;
  prometheus::Histogram& restore_;
  prometheus::Histogram& fork_;
  prometheus::Histogram& rewind_;
  prometheus::Histogram& store_call_;
  prometheus::Counter& store_failures_;
  prometheus::Counter& save_failures_;
  prometheus::Counter& forks_;
  std::weak_ptr<const sessions::SessionStore> store_;

  enum class StoreState : uint8_t { kUnused, kFails, kAnswers };
  std::atomic<StoreState> store_state_ = StoreState::kUnused;  // of a store on the network
};

}  // namespace fmaserver::metrics
