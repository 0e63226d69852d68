// Times the choice of a token from random logits: sampling [--vocab V] [--rounds N].
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "server/engine/sampler.h"
#include "server/engine/sequence.h"

namespace fmaserver::bench {
namespace {

struct Case {
  const char* name;
  float spread;  // standard deviation of the logits: 4 is peaked, 0.1 nearly even
  engine::SamplingParams params;
};

/// The median time of one Sample() in microseconds, or a negative number when one failed.
double Measure(const Case& what, size_t vocab, int rounds) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, what.spread);
  engine::Sampler sampler(what.params, 1, {});
  std::vector<float> logits(vocab);
  std::vector<double> seconds;
  for (int i = 0; i < rounds; ++i) {
    for (float& logit : logits) logit = normal(random);
    const Clock::time_point start = Clock::now();
    if (!sampler.Sample(logits).ok()) return -1;
    seconds.push_back(SecondsBetween(start, Clock::now()));
  }
  const auto middle = seconds.begin() + rounds / 2;
  std::nth_element(seconds.begin(), middle, seconds.end());
  return *middle * 1e6;
}

}  // namespace
}  // namespace fmaserver::bench

int main(int argc, char** argv) {
  size_t vocab = 128 * 1024;
  int rounds = 50;
  CLI::App app("Times the choice of a token from random logits.");
  app.add_option("--vocab", vocab, "Logits")->check(CLI::Range(1, 1 << 24))->capture_default_str();
  app.add_option("--rounds", rounds, "Choices of each kind")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  for (const fmaserver::bench::Case& what : std::vector<fmaserver::bench::Case>{
           {"greedy", 4, {.temperature = 0}},
           {"temperature alone", 4, {}},
           {"top_k 50", 4, {.top_k = 50}},
           {"top_k 50, top_p 0.95", 4, {.top_k = 50, .top_p = 0.95F}},
           {"top_p 0.95, peaked", 4, {.top_p = 0.95F}},
           {"top_p 0.95, nearly even", 0.1F, {.top_p = 0.95F}},
           {"top_p 0.95, min_p 0.05", 4, {.top_p = 0.95F, .min_p = 0.05F}},
       }) {
    std::printf("%-26s%10.0f us\n", what.name, fmaserver::bench::Measure(what, vocab, rounds));
  }
  return 0;
}
