// Decodes one sequence for a long time and shows that neither its memory nor its time per token
// grows: long_decode --model DIR [--tokens N].
//
// Exits with 1 when the resident memory grew by more than --max-growth-kib; times are only
// reported, because machines are shared.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "kernels/cpu/cpu_backend.h"
#include "model_loader/checkpoint.h"
#include "server/engine/model.h"
#include "server/engine/sequence.h"
#include "server/engine/slot_pool.h"

namespace fmaserver::bench {
namespace {

struct Flags {
  std::string model;
  int64_t tokens = 1'000'000;
  int64_t window = 10'000;
  int64_t max_growth_kib = 1024;
  int threads = 1;
};

int64_t ResidentKib() {
  std::ifstream status("/proc/self/status");
  std::string word;
  int64_t kib = 0;
  while (status >> word) {
    if (word == "VmRSS:") status >> kib;
  }
  return kib;
}

/// Feeds a fixed pseudo-random sequence token by token, from position 0 on.
class Decoder {
 public:
  explicit Decoder(engine::Model& model)
      : model_(model), pool_(*engine::SlotPool::Create(model.backend(), model.layout(), 1)) {
    slot_ = pool_->Acquire();
  }

  /// Returns seconds per token.
  absl::StatusOr<double> Decode(int64_t count) {
    const Clock::time_point start = Clock::now();
    for (int64_t i = 0; i < count; ++i) {
      const auto token = static_cast<int32_t>(static_cast<uint64_t>(position_) * 2654435761U %
                                              model_.config().vocab_size);
      const engine::StepSegment segment{slot_.handle(), position_++, {&token, 1}, 1};
      if (const auto logits = model_.Step({&segment, 1}); !logits.ok()) return logits.status();
    }
    return SecondsBetween(start, Clock::now()) / static_cast<double>(count);
  }

 private:
  engine::Model& model_;
  std::unique_ptr<engine::SlotPool> pool_;
  engine::Slot slot_;
  int64_t position_ = 0;
};

absl::StatusOr<bool> Run(const Flags& flags) {
  const absl::StatusOr<model::Checkpoint> checkpoint = model::Checkpoint::Open(flags.model);
  if (!checkpoint.ok()) return checkpoint.status();
  absl::StatusOr<std::unique_ptr<kernels::Backend>> backend =
      kernels::MakeCpuBackend(flags.threads);
  if (!backend.ok()) return backend.status();
  const auto model = engine::Model::Load(*checkpoint, *std::move(backend), {.max_rows = 1});
  if (!model.ok()) return model.status();
  Decoder decoder(**model);

  // Warm-up: gets past the start, where the near field and the first levels are still being filled.
  if (const auto warm = decoder.Decode(flags.window); !warm.ok()) return warm.status();
  const int64_t before = ResidentKib();
  const auto first = decoder.Decode(flags.window);
  if (!first.ok()) return first.status();
  if (const auto rest = decoder.Decode(std::max<int64_t>(0, flags.tokens - 3 * flags.window));
      !rest.ok()) {
    return rest.status();
  }
  const auto last = decoder.Decode(flags.window);
  if (!last.ok()) return last.status();
  const int64_t after = ResidentKib();

  std::printf("device                %s\n", (*model)->device().c_str());
  std::printf("tokens decoded        %lld\n", static_cast<long long>(flags.tokens));
  std::printf("cache                 %lld bytes; a full KV cache would hold %lld\n",
              static_cast<long long>((*model)->slot_bytes()),
              static_cast<long long>((*model)->full_cache_bytes_per_token() * flags.tokens));
  std::printf("resident memory       %lld KiB, then %lld KiB\n", static_cast<long long>(before),
              static_cast<long long>(after));
  std::printf("first %lld tokens    %.2f us each\n", static_cast<long long>(flags.window),
              *first * 1e6);
  std::printf("last %lld tokens     %.2f us each, ratio %.3f\n",
              static_cast<long long>(flags.window), *last * 1e6, *last / *first);
  return after - before <= flags.max_growth_kib;
}

}  // namespace
}  // namespace fmaserver::bench

int main(int argc, char** argv) {
  fmaserver::bench::Flags flags;
  CLI::App app("Shows that memory and time per token do not grow with the sequence.");
  app.add_option("--model", flags.model, "Checkpoint folder, not of learned positions")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--tokens", flags.tokens, "Tokens to decode")->capture_default_str();
  app.add_option("--window", flags.window, "Tokens of the two measurements")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--max-growth-kib", flags.max_growth_kib, "Resident growth that fails the run")
      ->capture_default_str();
  app.add_option("--threads", flags.threads, "Threads")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const absl::StatusOr<bool> flat = fmaserver::bench::Run(flags);
  if (!flat.ok()) {
    std::fprintf(stderr, "long_decode: %s\n", std::string(flat.status().message()).c_str());
    return 1;
  }
  if (!*flat) std::fprintf(stderr, "long_decode: resident memory grew\n");
  return *flat ? 0 : 1;
}
