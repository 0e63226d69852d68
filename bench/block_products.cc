// How near products with weights in each format come to the time in which this machine reads their
// bytes: block_products --threads 2 --instructions AVX2
//
// A plain read of as many bytes, by the same threads, is measured beside every product, in turns,
// and of both the least time counts, because other programs only add to it. It is processor time,
// divided by the number of threads: by the clock, whatever takes longer than the system lets a
// thread run at a time would be measured with the other programs in between. `of_floor` is the time
// of that read divided by the time of the product. The weights are larger than any cache; random
// ones, because only their number counts.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "bench/instructions.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/huge_pages.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/fma/element.h"

namespace fmaserver::bench {
namespace {

struct Flags {
  int threads = 1;
  std::vector<int64_t> rows = {1, 4, 32, 256};
  std::vector<std::string> weights = {"bf16", "int8", "int4"};
  int64_t out = 32768;
  int64_t in = 4096;
  int rounds = 15;
  std::string instructions;
  bool no_extensions = false;
};

/// Of the process.
double ProcessorSeconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <typename Function>
double Seconds(int threads, const Function& function) {
  const double start = ProcessorSeconds();
  function();
  return (ProcessorSeconds() - start) / threads;
}

/// Reads memory with all threads of a pool.
class PlainRead {
 public:
  PlainRead(int threads, int64_t most)
      : pool_(threads), memory_(kernels::TryAllocateInHugePages(most)) {
    std::fill_n(reinterpret_cast<uint64_t*>(memory_.get()), most / 8, 1);
  }

  double Time(int64_t bytes) {
    constexpr int64_t kPiece = 1 << 20;
    return Seconds(pool_.threads(), [&] {
      pool_.ParallelFor(bytes / kPiece, [&](int64_t piece, int) {
        const auto* words = reinterpret_cast<const uint64_t*>(memory_.get() + piece * kPiece);
        uint64_t sums[32] = {};  // several vectors
        for (int64_t i = 0; i < kPiece / 8; i += 32) {
          for (int64_t j = 0; j < 32; ++j) sums[j] += words[i + j];
        }
        for (const uint64_t sum : sums) sum_ = sum_ + sum;
      });
    });
  }

 private:
  kernels::ThreadPool pool_;
  kernels::BlockPart memory_;
  volatile uint64_t sum_ = 0;  // so that the reads are not optimised away
};

struct Format {
  std::string name;
  std::optional<kernels::WeightFormat> integers;
  double bytes_of_number;
};
const std::vector<Format> kFormats = {{"bf16", std::nullopt, 2.0},
                                      {"int8", kernels::WeightFormat::kInt8, 34.0 / 32},
                                      {"int4", kernels::WeightFormat::kInt4, 18.0 / 32}};

std::vector<kernels::BFloat16> RandomWeights(int64_t count) {
  std::mt19937 random(1);
  std::vector<kernels::BFloat16> weights(count);
  for (auto& weight : weights) {
    weight =
        kernels::FromFloat<kernels::BFloat16>(static_cast<float>(random() % 4001) / 2e4F - 0.1F);
  }
  return weights;
}

void Measure(const Flags& flags, const Format& format, kernels::Backend& backend,
             const kernels::HostLinear& host, PlainRead& read) {
  const auto packed = format.integers.has_value()
                          ? backend.PackQuantised({&host, 1}, *format.integers)
                          : backend.PackLinear({&host, 1});
  const auto bytes =
      static_cast<int64_t>(format.bytes_of_number * static_cast<double>(flags.out * flags.in));
  for (const int64_t rows : flags.rows) {
    std::vector<float> x(rows * flags.in, 0.5F);
    std::vector<float> y(rows * flags.out);
    std::vector<double> floors;
    std::vector<double> times;
    for (int round = 0; round < flags.rounds; ++round) {
      floors.push_back(read.Time(bytes));
      times.push_back(Seconds(flags.threads, [&] {
        backend.Linear({x.data(), rows, flags.in}, **packed, false, {y.data(), rows, flags.out});
      }));
    }
    const double floor = *std::ranges::min_element(floors);
    const double time = *std::ranges::min_element(times);
    std::printf(
        "{\"weights\": \"%s\", \"threads\": %d, \"rows\": %lld, \"ms\": %.2f, "
        "\"read_gb_per_second\": "
        "%.1f, \"of_floor\": %.2f, \"gflop_per_second\": %.0f}\n",
        format.name.c_str(), flags.threads, static_cast<long long>(rows), time * 1e3,
        static_cast<double>(bytes) / floor / 1e9, floor / time,
        2e-9 * static_cast<double>(rows * flags.out * flags.in) / time);
    std::fflush(stdout);
  }
}

int Run(const Flags& flags) {
  if (!UseInstructions(flags.instructions)) {
    std::fprintf(stderr, "this processor has no %s\n", flags.instructions.c_str());
    return 1;
  }
  const auto backend = kernels::MakeCpuBackend(
      flags.threads,
      flags.no_extensions ? kernels::cpu::Extensions{} : kernels::cpu::Extensions::OfProcessor());
  if (!backend.ok()) return 1;
  const std::vector<kernels::BFloat16> weights = RandomWeights(flags.out * flags.in);
  const kernels::HostLinear host{{.data = reinterpret_cast<const std::byte*>(weights.data()),
                                  .format = kernels::WeightFormat::kBF16,
                                  .rows = flags.out,
                                  .cols = flags.in},
                                 {}};
  PlainRead read(flags.threads, 2 * flags.out * flags.in);
  std::printf("{\"device\": \"%s\"}\n", (*backend)->Description().c_str());
  for (const Format& format : kFormats) {
    if (std::ranges::find(flags.weights, format.name) == flags.weights.end()) continue;
    Measure(flags, format, **backend, host, read);
  }
  return 0;
}

}  // namespace
}  // namespace fmaserver::bench

int main(int argc, char** argv) {
  fmaserver::bench::Flags flags;
  CLI::App app("Times products of weights in every format beside reading their bytes.");
  app.option_defaults()->always_capture_default();
  app.add_option("--threads", flags.threads, "Threads")->check(CLI::Range(1, 1024));
  app.add_option("--rows", flags.rows, "Rows of the input");
  app.add_option("--weights", flags.weights, "Which formats");
  app.add_option("--out", flags.out, "Outputs")->check(CLI::Range(32, 1 << 20));
  app.add_option("--in", flags.in, "Inputs")->check(CLI::Range(32, 1 << 16));
  app.add_option("--rounds", flags.rounds, "Of which the fastest counts")
      ->check(CLI::Range(1, 1000));
  app.add_option("--instructions", flags.instructions,
                 "AVX3, AVX2 or SCALAR in place of the best that there is");
  app.add_flag("--no-extensions", flags.no_extensions, "Without matrix tiles and AVX-512 VNNI");
  CLI11_PARSE(app, argc, argv);
  return fmaserver::bench::Run(flags);
}
