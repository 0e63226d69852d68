// The command line of fma-bench.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "bench/load/length_distribution.h"
#include "clients/cpp/server_options.h"

namespace fmaserver::bench {

struct LoadOptions {
  client::ServerOptions server;
  std::string json_file;

  std::optional<double> rate;  ///< arrivals per second; none: closed loop
  std::optional<int> concurrency;
  std::optional<int64_t> requests;
  std::optional<double> duration_seconds;
  int64_t warmup_requests = 0;
  double timeout_seconds = 0;  ///< 0: none

  std::string prompt_lengths = "fixed:256";
  std::string output_lengths = "fixed:64";
  std::string prompt_file;  ///< empty: random token ids
  std::optional<float> temperature;
  uint64_t seed = 1;

  int64_t neighbour_of = 0;  ///< 0: ordinary load

  /// The most requests at once.
  int Concurrency() const { return concurrency.value_or(rate ? 256 : 8); }
};

/// Declares the options on `app`, whose parsing fills `options`.
void AddLoadOptions(CLI::App& app, LoadOptions& options);

}  // namespace fmaserver::bench
