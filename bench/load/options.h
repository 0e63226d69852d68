// The command line of fma-bench.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bench/load/length_distribution.h"
#include "clients/cpp/server_options.h"

namespace fmaserver::bench {

struct LoadOptions {
  std::vector<std::string> servers = {"localhost:50051"};
  client::ServerOptions access;  ///< of all servers; its own address is not used
  std::string prefill;           ///< the server that reads prompts into sessions; empty: none
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

  int64_t neighbour_of = 0;  ///< 0: not this

  int64_t conversations = 0;  ///< 0: not this
  int64_t turns = 3;
  double think_seconds = 0;
  double patience_seconds = 60;
  std::string fault_file;      ///< empty: no faults
  std::string reference_file;  ///< of the answers; empty: none

  /// The most requests at once.
  int Concurrency() const { return concurrency.value_or(rate ? 256 : 8); }
};

/// Declares the options on `app`, whose parsing fills `options`.
void AddLoadOptions(CLI::App& app, LoadOptions& options);

}  // namespace fmaserver::bench
