// What the HTTP port answers: probes, version and metrics.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <utility>

#include "server/http/request_head.h"
#include "server/metrics/exposition.h"

namespace fmaserver {

/// Thread-safe. A server begins in the phase of loading; draining is its last phase.
class StatusPages {
 public:
  enum class Phase { kLoading, kServing, kDraining };

  /// `exposition` outlives this object. `loading` says what is done before requests are served
  /// (LoadProgress::Text); it may be called on any thread.
  StatusPages(const metrics::Exposition& exposition, std::function<std::string()> loading)
      : exposition_(exposition), loading_(std::move(loading)) {}

  /// From now on requests are served; `overloaded` says whether the next one would be refused
  /// because slots and queue are full. It may be called on any thread.
  void Serve(std::function<bool()> overloaded);
  void Drain() { phase_ = Phase::kDraining; }

  http::HttpResponse Answer(const std::string& path) const;

 private:
  /// Whether requests are served; `with_room` also whether the next one would be taken.
  http::HttpResponse Readiness(bool with_room) const;

  const metrics::Exposition& exposition_;
  const std::function<std::string()> loading_;
  std::function<bool()> overloaded_;  // set before phase_ leaves kLoading
  std::atomic<Phase> phase_ = Phase::kLoading;
};

}  // namespace fmaserver
