// What a decode step costs the host, counted by the block emulator.
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/cuda_backend.h"
#include "model_loader/checkpoint.h"
#include "server/engine/model.h"
#include "server/engine/slot_pool.h"
#include "server/engine/weight_type.h"
#include "tests/emulator/emulator.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/server/engine/model_archive.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

int64_t Launches() {
  int64_t launches = 0;
  for (const auto& [name, traffic] : kernels::cuda::emulator::TrafficByKernel()) {
    launches += traffic.launches;
  }
  return launches;
}

/// Sequences that decode side by side; their tokens are chosen on the device.
class Decoding {
 public:
  Decoding(engine::Model& model, int sequences)
      : model_(model),
        pool_(*engine::SlotPool::Create(model.backend(), model.layout(), sequences)),
        tokens_(sequences, 1) {
    for (int i = 0; i < sequences; ++i) {
      slots_.push_back(pool_->Acquire());
      archives_.emplace_back(model_);
    }
  }

  void Step() {
    std::vector<engine::StepSegment> segments;
    for (size_t i = 0; i < slots_.size(); ++i) {
      segments.push_back({slots_[i].handle(), position_, {&tokens_[i], 1}, 1});
      archives_[i].Give(segments.back());
    }
    std::vector<kernels::RowSampling> choices(slots_.size());
    for (kernels::RowSampling& choice : choices) choice.temperature = 0;
    std::vector<kernels::SampledRow> sampled(slots_.size());
    const auto logits = model_.Run(segments, choices, sampled);
    ASSERT_TRUE(logits.ok()) << logits.status();
    for (size_t i = 0; i < slots_.size(); ++i) {
      ASSERT_NE(sampled[i].token, kernels::kNoToken);
      tokens_[i] = sampled[i].token;
    }
    ++position_;
  }

 private:
  engine::Model& model_;
  const std::unique_ptr<engine::SlotPool> pool_;
  std::vector<engine::Slot> slots_;
  std::vector<ModelArchive> archives_;
  std::vector<int32_t> tokens_;
  int64_t position_ = 0;
};

/// A random model with weights in bfloat16, or rounded to `weights`.
std::unique_ptr<engine::Model> LoadModel(
    const model::ModelConfig& config, engine::WeightType weights = engine::WeightType::kAsStored) {
  const TempFolder folder;
  EXPECT_TRUE(WriteRandomCheckpoint(config, 3, kernels::WeightFormat::kBF16, folder.path()).ok());
  const auto checkpoint = model::Checkpoint::Open(folder.path());
  EXPECT_TRUE(checkpoint.ok());
  auto model = engine::Model::Load(*checkpoint, *kernels::cuda::MakeCudaBackend(0),
                                   {.max_rows = 16, .weights = weights});
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

void ExpectAsManyLaunchesAtEveryLength(const model::ModelConfig& config) {
  for (const int sequences : {1, 3, 13}) {
    const auto model = LoadModel(config);
    Decoding decoding(*model, sequences);
    int64_t launches = 0;
    for (int step = 0; step < 40; ++step) {
      const int64_t launches_before = Launches();
      const int64_t waits_before = kernels::cuda::emulator::Waits();
      decoding.Step();
      if (step == 0) launches = Launches() - launches_before;
      EXPECT_EQ(Launches() - launches_before, launches) << "step " << step;
      EXPECT_EQ(kernels::cuda::emulator::Waits() - waits_before, 1) << "step " << step;
    }
    EXPECT_GT(launches, 0);
  }
}

TEST(CudaStepTest, ADecodeStepIsAsManyLaunchesAtEveryLengthAndOneWait) {
  ExpectAsManyLaunchesAtEveryLength(SmallConfig());
}

TEST(CudaStepTest, SoItIsWithSelectedTokens) {
  ExpectAsManyLaunchesAtEveryLength(SelectingConfig());
}

TEST(CudaStepTest, SoItIsWithOpenedUnits) { ExpectAsManyLaunchesAtEveryLength(OpeningConfig()); }

/// Of the third step, beside those before it.
int64_t LaunchesOfAStep(const model::ModelConfig& config, engine::WeightType weights,
                        int sequences) {
  const auto model = LoadModel(config, weights);
  Decoding decoding(*model, sequences);
  decoding.Step();
  decoding.Step();
  const int64_t before = Launches();
  decoding.Step();
  return Launches() - before;
}

/// A small product with integers of up to 8 rows rounds its inputs itself; with more rows each
/// layer's four products, and that for the logits, have a launch before them.
TEST(CudaStepTest, WithIntegersFewSequencesAreAsManyLaunchesAsWithBfloat16) {
  const model::ModelConfig config = SmallConfig();
  const int64_t plain = LaunchesOfAStep(config, engine::WeightType::kAsStored, 1);
  for (const auto weights : {engine::WeightType::kInt8, engine::WeightType::kInt4}) {
    SCOPED_TRACE(engine::NameOf(weights));
    EXPECT_EQ(LaunchesOfAStep(config, weights, 1), plain);
    EXPECT_EQ(LaunchesOfAStep(config, weights, 8), plain);
    EXPECT_EQ(LaunchesOfAStep(config, weights, 9), plain + int64_t{4} * config.num_layers + 1);
  }
}

}  // namespace
}  // namespace fmaserver::testing
