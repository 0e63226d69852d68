// A line on standard error that shows the progress of a load, redrawn in place.
#pragma once

#include <thread>

#include "bench/load/stream.h"

namespace fmaserver::bench {

/// Draws while it exists, if standard error is a terminal; the destructor removes the line.
class LiveLine {
 public:
  /// `live` must outlive the object.
  explicit LiveLine(const LiveCounts& live);
  ~LiveLine();
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;

 private:
  void Draw();

  const LiveCounts& live_;
  CallGroup stop_;
  std::thread thread_;
};

}  // namespace fmaserver::bench
