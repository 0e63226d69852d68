// The page that Prometheus reads: the metrics of several sources, as text.
#pragma once

#include <prometheus/collectable.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace fmaserver::metrics {

/// Thread-safe. Families of one name from several sources are one family on the page.
class Exposition {
 public:
  /// `vllm_names`: six of the metrics also have their names in vLLM (vllm_names.h).
  explicit Exposition(bool vllm_names = false) : vllm_names_(vllm_names) {}

  /// `source` is on the page as long as somebody else holds it, so a model's series go when the
  /// model goes.
  void Add(std::weak_ptr<const prometheus::Collectable> source);

  /// Everything in Prometheus' text format 0.0.4; kContentType says so to HTTP clients.
  std::string Render() const;

  static constexpr char kContentType[] = "text/plain; version=0.0.4; charset=utf-8";

 private:
  std::vector<std::shared_ptr<const prometheus::Collectable>> Sources() const;

  const bool vllm_names_;
  mutable std::mutex mutex_;
  std::vector<std::weak_ptr<const prometheus::Collectable>> sources_;  // guarded by mutex_
};

}  // namespace fmaserver::metrics
