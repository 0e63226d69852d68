// A progress bar on standard error, drawn in place.
#pragma once

#include <chrono>
#include <cstdint>

namespace fmaserver::client {

/// Does nothing unless standard error is a terminal. One thread.
class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar() { Clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// Shows that `done` of `total` prompt tokens are read, and how fast.
  void Show(uint64_t done, uint64_t total);

  /// Removes the bar, so that other output starts on an empty line.
  void Clear();

 private:
  const bool enabled_;
  bool shown_ = false;
  const std::chrono::steady_clock::time_point start_;
};

}  // namespace fmaserver::client
