#include "bench/load/options.h"

#include "absl/status/statusor.h"
#include "command_line/numbers.h"

namespace fmaserver::bench {
namespace {

constexpr char kFooter[] = R"(
Lengths: fixed:N, uniform:MIN:MAX, or lognormal:MEDIAN:SIGMA:MAX. Every output has exactly the
length that was drawn: generation goes on past the end of the text.

Examples:
  fma-bench --concurrency 16 --requests 200 --warmup 16
  fma-bench --rate 5 --duration 60 --prompt-tokens lognormal:400:1:8000 --json result.json
  fma-bench --neighbour-of 262144 --concurrency 4 --duration 10

Exit codes: 0 done, 1 output could not be written, 2 wrong usage, 3 no request succeeded,
4 server not reachable, 130 interrupted, after the report of what was measured until then.)";

std::string WhyNoDistribution(const std::string& text) {
  const auto lengths = LengthDistribution::Parse(text);
  return lengths.ok() ? std::string() : std::string(lengths.status().message());
}

void AddArrivalOptions(CLI::App& app, LoadOptions& options) {
  const std::string group = "Load";
  AddNumber(app, "--concurrency", options.concurrency,
            "Requests at once (8); with --rate the most at once (256)")
      ->check(CLI::Range(1, 10'000))
      ->group(group);
  AddNumber(app, "--rate", options.rate,
            "Arrivals a second at random times (Poisson), whether or not others are done")
      ->check(CLI::Range(1e-3, 1e6))
      ->group(group);
  AddNumber(app, "--requests", options.requests,
            "Requests to send (100, without limit with --duration)")
      ->check(CLI::Range(int64_t{1}, int64_t{1'000'000'000}))
      ->group(group);
  AddNumber(app, "--duration", options.duration_seconds, "Seconds after which none is sent")
      ->check(CLI::Range(0.001, 1e6))
      ->group(group);
  AddNumber(app, "--warmup", options.warmup_requests, "Requests before those that count")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000}))
      ->group(group);
  AddNumber(app, "--neighbour-of", options.neighbour_of,
            "Instead: the gaps between the tokens of --concurrency streams, alone for "
            "--duration (5) and then while a prompt of so many tokens is read")
      ->check(CLI::Range(int64_t{1}, int64_t{7'000'000}))
      ->excludes("--rate", "--requests", "--warmup")
      ->group(group);
}

void AddRequestOptions(CLI::App& app, LoadOptions& options) {
  const std::string group = "Requests";
  app.add_option("--prompt-tokens", options.prompt_lengths, "Lengths of prompts")
      ->check(WhyNoDistribution, "DISTRIBUTION")
      ->capture_default_str()
      ->group(group);
  app.add_option("--output-tokens", options.output_lengths, "Lengths of outputs")
      ->check(WhyNoDistribution, "DISTRIBUTION")
      ->capture_default_str()
      ->group(group);
  app.add_option("--prompt-file", options.prompt_file,
                 "Prompts are pieces of this text, at most 16 MiB; otherwise random token ids")
      ->check(CLI::ExistingFile)
      ->group(group);
  AddNumber(app, "--temperature", options.temperature, "Sampling temperature (server: 1)")
      ->group(group);
  AddNumber(app, "--timeout", options.timeout_seconds, "Deadline of a request in seconds; 0: none")
      ->check(CLI::Range(0.0, 1e6))
      ->group(group);
  AddNumber(app, "--seed", options.seed, "Same seed, same requests and arrival times")
      ->capture_default_str()
      ->group(group);
}

}  // namespace

void AddLoadOptions(CLI::App& app, LoadOptions& options) {
  app.footer(kFooter);
  client::AddServerOptions(app, options.server);
  app.add_option("--json", options.json_file, "Write the report to this file too")
      ->type_name("FILE");
  AddArrivalOptions(app, options);
  AddRequestOptions(app, options);
}

}  // namespace fmaserver::bench
