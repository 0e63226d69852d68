// Measures the time of a model's steps on any device, as one JSON object:
//   step_speed --model DIR --device cuda:0 --sequences 256 --context 131072 --rows 1 --steps 50
//
// Every sequence starts at --context with a slot of zeros: the cost of a step depends on the
// position and hardly on the contents, so nothing has to be read first. With selected tokens a
// group costs more than one of zeros once it has real tokens: warm up for 3 m of them.
// Where the model opens units, every sequence has an archive of noise.
// `floor_bytes` is what a step has to move at least: every weight once and every slot once.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "bench/instructions.h"
#include "bench/noise_archive.h"
#include "kernels/device.h"
#include "model_loader/checkpoint.h"
#include "nlohmann/json.hpp"
#include "server/engine/model.h"
#include "server/engine/slot_pool.h"

namespace fmaserver::bench {
namespace {

struct Flags {
  std::string model;
  std::string device = "auto";
  std::string cache_dtype = "f32";
  std::string archive_dtype = "as-is";
  int64_t device_unit_cache = 0;
  std::string weights = "as-is";
  std::string instructions;
  int threads = 0;
  int32_t sequences = 1;
  int32_t rows = 1;
  int64_t context = 1024;
  int warm_up = 5;
  int steps = 50;
  bool no_archive = false;
};

/// In seconds: passed, and spent by all processors together.
struct StepTime {
  double wall = 0;
  double processor = 0;
};

class Sequences {
 public:
  static absl::StatusOr<std::unique_ptr<Sequences>> Create(engine::Model& model,
                                                           const Flags& flags) {
    auto pool = engine::SlotPool::Create(model.backend(), model.layout(), flags.sequences);
    if (!pool.ok()) return pool.status();
    std::unique_ptr<Sequences> sequences(new Sequences(model, flags, *std::move(pool)));
    const std::vector<std::byte> zeros(static_cast<size_t>(model.slot_bytes()));
    for (const engine::Slot& slot : sequences->slots_) {
      const absl::Status status = model.backend().RestoreSlot(zeros, slot.handle());
      if (!status.ok()) return status;
    }
    return sequences;
  }

  /// The time of one step that has every sequence, each with the logits of its last row.
  absl::StatusOr<StepTime> Step() {
    for (size_t i = 0; i < tokens_.size(); ++i) {
      tokens_[i] = static_cast<int32_t>((position_ + static_cast<int64_t>(i)) * 7919 %
                                        model_.config().vocab_size);
    }
    std::vector<engine::StepSegment> segments;
    for (size_t i = 0; i < slots_.size(); ++i) {
      segments.push_back({slots_[i].handle(), position_, tokens_, 1});
      if (!opens_) continue;
      const auto groups = archives_[i].Reach(position_ + std::ssize(tokens_));
      if (!groups.ok()) return groups.status();
      segments.back().opens = true;
      segments.back().archive = *groups;
    }
    const auto start = std::chrono::steady_clock::now();
    const std::clock_t processor_start = std::clock();
    const auto logits = model_.Step(segments);
    const std::clock_t processor_end = std::clock();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (!logits.ok()) return logits.status();
    position_ += static_cast<int64_t>(tokens_.size());
    return StepTime{elapsed.count(),
                    static_cast<double>(processor_end - processor_start) / CLOCKS_PER_SEC};
  }

 private:
  Sequences(engine::Model& model, const Flags& flags, std::unique_ptr<engine::SlotPool> pool)
      : model_(model),
        pool_(std::move(pool)),
        tokens_(flags.rows),
        position_(flags.context),
        opens_(model.archive_layout() && !flags.no_archive) {
    for (int32_t i = 0; i < flags.sequences; ++i) {
      slots_.push_back(pool_->Acquire());
      archives_.emplace_back(model.backend(), model.archive_layout());
    }
  }

  engine::Model& model_;
  const std::unique_ptr<engine::SlotPool> pool_;
  std::vector<int32_t> tokens_;  // of the last step
  int64_t position_;
  const bool opens_;
  std::vector<NoiseArchive> archives_;
  std::vector<engine::Slot> slots_;
};

/// All ascending.
struct StepTimes {
  std::vector<double> wall;
  std::vector<double> processor;
};

absl::StatusOr<StepTimes> Measure(engine::Model& model, const Flags& flags) {
  auto sequences = Sequences::Create(model, flags);
  if (!sequences.ok()) return sequences.status();
  StepTimes times;
  for (int step = 0; step < flags.warm_up + flags.steps; ++step) {
    const absl::StatusOr<StepTime> one = (*sequences)->Step();
    if (!one.ok()) return one.status();
    if (step < flags.warm_up) continue;
    times.wall.push_back(one->wall);
    times.processor.push_back(one->processor);
  }
  std::ranges::sort(times.wall);
  std::ranges::sort(times.processor);
  return times;
}

absl::StatusOr<nlohmann::json> Run(const Flags& flags) {
  const absl::StatusOr<model::Checkpoint> checkpoint = model::Checkpoint::Open(flags.model);
  if (!checkpoint.ok()) return checkpoint.status();
  absl::StatusOr<kernels::ChosenBackend> device = kernels::MakeBackend(flags.device, flags.threads);
  if (!device.ok()) return device.status();
  engine::ModelOptions options{.max_rows = flags.sequences * flags.rows};
  options.cache_type = *kernels::CacheTypeNamed(flags.cache_dtype);
  options.archive_type = kernels::CacheTypeNamed(flags.archive_dtype);  // as-is: none
  options.weights = *engine::WeightTypeNamed(flags.weights);
  const auto model = engine::Model::Load(*checkpoint, std::move(device->backend), options);
  if (!model.ok()) return model.status();
  const auto cached =
      (*model)->backend().CacheUnits((*model)->archive_layout(), flags.device_unit_cache);
  if (!cached.ok()) return cached.status();
  const auto times = Measure(**model, flags);
  if (!times.ok()) return times.status();
  const std::vector<double>& seconds = times->wall;
  const double median = seconds[seconds.size() / 2];
  const int64_t floor_bytes =
      (*model)->weight_bytes() + int64_t{flags.sequences} * (*model)->slot_bytes();
  return nlohmann::json{
      {"device", (*model)->device()},
      {"parameters", (*model)->num_parameters()},
      {"sequences", flags.sequences},
      {"rows_of_each", flags.rows},
      {"context", flags.context},
      {"step_ms_median", median * 1e3},
      {"step_ms_mean", 1e3 * std::reduce(seconds.begin(), seconds.end()) / flags.steps},
      {"step_ms_least", seconds.front() * 1e3},
      {"step_ms_most", seconds.back() * 1e3},
      {"processor_ms_median", times->processor[times->processor.size() / 2] * 1e3},
      {"processor_ms_least", times->processor.front() * 1e3},
      {"tokens_per_second", flags.sequences * flags.rows / median},
      {"weight_bytes", (*model)->weight_bytes()},
      {"slot_bytes", (*model)->slot_bytes()},
      {"floor_bytes", floor_bytes},
      {"floor_gb_per_second", static_cast<double>(floor_bytes) / median / 1e9},
      {"tflop_per_second", 2e-12 * static_cast<double>((*model)->num_parameters()) *
                               flags.sequences * flags.rows / median},
  };
}

void DeclareFlags(CLI::App& app, Flags& flags) {
  app.option_defaults()->always_capture_default();
  app.add_option("--model", flags.model, "Checkpoint folder")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--device", flags.device, "auto, cpu or cuda:N");
  app.add_option("--cache-dtype", flags.cache_dtype, "Element type of the cache")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}));
  app.add_option("--archive-dtype", flags.archive_dtype, "Of archived tokens; as-is: the same")
      ->check(CLI::IsMember({"as-is", "bf16", "int8"}));
  app.add_option("--weights", flags.weights, "What the large weights are rounded to")
      ->check(CLI::IsMember({"as-is", "bf16", "int8", "int4"}));
  app.add_option("--threads", flags.threads, "Threads of the cpu device");
  app.add_option("--instructions", flags.instructions,
                 "AVX3, AVX2 or SCALAR in place of the best that there is");
  app.add_option("--sequences", flags.sequences, "Sequences in every step")
      ->check(CLI::Range(1, 1 << 16));
  app.add_option("--rows", flags.rows, "Tokens of each in a step: 1 decodes, more read a prompt")
      ->check(CLI::Range(1, 1 << 16));
  app.add_option("--context", flags.context, "Tokens before the first step")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--warm-up", flags.warm_up, "Steps that are not measured");
  app.add_option("--steps", flags.steps, "Steps that are")->check(CLI::PositiveNumber);
  app.add_option("--device-unit-cache", flags.device_unit_cache,
                 "Bytes of a GPU's memory for copies of units that were opened")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("--no-archive", flags.no_archive, "Open no units of the far past");
}

}  // namespace
}  // namespace fmaserver::bench

int main(int argc, char** argv) {
  fmaserver::bench::Flags flags;
  CLI::App app("Times the steps of a model.");
  fmaserver::bench::DeclareFlags(app, flags);
  CLI11_PARSE(app, argc, argv);
  if (!fmaserver::bench::UseInstructions(flags.instructions)) {
    std::fprintf(stderr, "step_speed: this processor has no %s\n", flags.instructions.c_str());
    return 1;
  }
  const absl::StatusOr<nlohmann::json> result = fmaserver::bench::Run(flags);
  if (!result.ok()) {
    std::fprintf(stderr, "step_speed: %s\n", std::string(result.status().message()).c_str());
    return 1;
  }
  std::printf("%s\n", result->dump().c_str());
  return 0;
}
