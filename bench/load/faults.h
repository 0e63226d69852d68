// Faults that happen while conversations run: commands that the user wrote, each at its time.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/load/stream.h"

namespace fmaserver::bench {

struct Fault {
  double seconds = 0;  ///< after the start
  std::string command;
};

/// The faults of a script, in the order of their times: lines "SECONDS COMMAND"; empty ones and
/// those that begin with # say nothing. INVALID_ARGUMENT names `origin` and the line.
absl::StatusOr<std::vector<Fault>> ParseFaults(std::string_view text, std::string_view origin);

/// The same of a file; none without a name.
absl::StatusOr<std::vector<Fault>> ReadFaults(const std::string& file);

struct FaultOutcome {
  Fault fault;
  std::optional<double> begin = {};  ///< on the clock of NowSeconds(); absent: it was not run
  std::optional<int> exit_code =
      {};  ///< 128 and the signal's number as in a shell; absent: it ran on
  bool Failed() const { return !begin || exit_code.value_or(0) != 0; }
};

/// Runs each command by /bin/sh at its time, in a group of processes of its own, with nothing to
/// read and the output on standard error. None waits for the one before.
class FaultRunner {
 public:
  /// Times count from `begin`.
  FaultRunner(const std::vector<Fault>& faults, double begin);
  ~FaultRunner();
  FaultRunner(const FaultRunner&) = delete;
  FaultRunner& operator=(const FaultRunner&) = delete;

  /// Runs no more of them; commands that still run get SIGTERM, with what they started in the
  /// foreground.
  const std::vector<FaultOutcome>& Stop();

 private:
  void Run(double begin);

  std::vector<FaultOutcome> outcomes_;
  std::vector<pid_t> processes_;  // of those that were run, in the same order
  CallGroup stop_;
  std::thread thread_;
};

}  // namespace fmaserver::bench
