// What a decode step costs the host, counted by the block emulator.
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/cuda_backend.h"
#include "model_loader/checkpoint.h"
#include "server/engine/model.h"
#include "server/engine/slot_pool.h"
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

void ExpectAsManyLaunchesAtEveryLength(const model::ModelConfig& config) {
  const TempFolder folder;
  ASSERT_TRUE(WriteRandomCheckpoint(config, 3, kernels::WeightFormat::kBF16, folder.path()).ok());
  const auto checkpoint = model::Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok());
  for (const int sequences : {1, 3, 13}) {
    const auto model =
        engine::Model::Load(*checkpoint, *kernels::cuda::MakeCudaBackend(0), {.max_rows = 16});
    ASSERT_TRUE(model.ok()) << model.status();
    Decoding decoding(**model, sequences);
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

}  // namespace
}  // namespace fmaserver::testing
