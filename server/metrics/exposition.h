// The page that Prometheus reads: what several sources collect, as text.
#pragma once

#include <prometheus/collectable.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace fmaserver::metrics {

/// Thread-safe. Sources join as the server starts: the process at once, the model when it is there.
class Exposition {
 public:
  void Add(std::shared_ptr<const prometheus::Collectable> source);

  /// Everything in Prometheus' text format 0.0.4; kContentType says so to HTTP clients.
  std::string Render() const;

  static constexpr char kContentType[] = "text/plain; version=0.0.4; charset=utf-8";

 private:
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<const prometheus::Collectable>> sources_;  // guarded by mutex_
};

}  // namespace fmaserver::metrics
