// The forward pass on the CUDA backend: the golden logits, and batches against the CPU backend.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "model_loader/checkpoint.h"
#include "nlohmann/json.hpp"
#include "server/engine/model.h"
#include "server/engine/slot_pool.h"
#include "tests/kernels/backends.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/server/engine/model_archive.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/paths.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = SourceDir() / "tests" / "data" / "golden";

/// All but those that open units, which this device does not.
std::vector<fs::path> GoldenCases() {
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(kGolden)) {
    if (!entry.path().filename().string().starts_with("select_open"))
      folders.push_back(entry.path());
  }
  return folders;
}

std::vector<int32_t> GoldenTokens(const fs::path& folder) {
  std::ifstream file(folder / "case.json");
  return nlohmann::json::parse(file)["tokens"].get<std::vector<int32_t>>();
}

bool HasWideWeights(const fs::path& folder) {
  std::ifstream file(folder / "config.json");
  return nlohmann::json::parse(file)["torch_dtype"] == "float32";
}

/// The numbers of a .npy file of float32, version 1.
std::vector<float> GoldenLogits(const fs::path& folder) {
  std::ifstream file(folder / "logits.npy", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const size_t header = 10 + static_cast<uint8_t>(bytes[8]) + 256 * static_cast<uint8_t>(bytes[9]);
  std::vector<float> values((bytes.size() - header) / sizeof(float));
  std::memcpy(values.data(), bytes.data() + header, values.size() * sizeof(float));
  return values;
}

/// The largest difference of log-probabilities, row by row; NaN when there is one.
double LargestDifference(std::span<const float> a, std::span<const float> b, int64_t vocab) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (size_t row = 0; row + vocab <= a.size() && a.size() == b.size(); row += vocab) {
    double sum_a = 0;
    double sum_b = 0;
    for (int64_t i = 0; i < vocab; ++i) {
      sum_a += std::exp(static_cast<double>(a[row + i]));
      sum_b += std::exp(static_cast<double>(b[row + i]));
    }
    for (int64_t i = 0; i < vocab; ++i) {
      const double difference =
          std::abs(a[row + i] - std::log(sum_a) - (b[row + i] - std::log(sum_b)));
      if (!(difference <= largest)) largest = difference;
    }
  }
  return largest;
}

class CudaModelTest : public BackendTest {
 protected:
  std::unique_ptr<engine::Model> Load(const fs::path& folder,
                                      std::shared_ptr<kernels::Backend> backend,
                                      engine::ModelOptions options) {
    const auto checkpoint = model::Checkpoint::Open(folder);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    auto model = engine::Model::Load(*checkpoint, std::move(backend), options);
    EXPECT_TRUE(model.ok()) << model.status();
    return *std::move(model);
  }

  /// The fixture's backend, not owned by the pointer.
  std::shared_ptr<kernels::Backend> Shared() {
    return {&backend(), [](kernels::Backend*) {}};
  }
};

/// All logits [n, V] of a sequence fed in pieces of `chunk` tokens.
std::vector<float> Feed(engine::Model& model, const std::vector<int32_t>& tokens, size_t chunk) {
  const auto pool = engine::SlotPool::Create(model.backend(), model.layout(), 1);
  const engine::Slot slot = (*pool)->Acquire();
  ModelArchive archive(model);
  std::vector<float> all;
  for (size_t position = 0; position < tokens.size(); position += chunk) {
    const size_t rows = std::min(chunk, tokens.size() - position);
    engine::StepSegment segment{slot.handle(), static_cast<int64_t>(position),
                                std::span(tokens).subspan(position, rows),
                                static_cast<int32_t>(rows)};
    archive.Give(segment);
    const auto logits = model.Step({&segment, 1});
    EXPECT_TRUE(logits.ok()) << logits.status();
    if (!logits.ok()) return all;
    all.insert(all.end(), logits->begin(), logits->end());
  }
  return all;
}

TEST_P(CudaModelTest, GoldenLogitsInEveryWayOfFeeding) {
  for (const fs::path& folder : GoldenCases()) {
    SCOPED_TRACE(folder.filename());
    const auto tokens = GoldenTokens(folder);
    const auto expected = GoldenLogits(folder);
    const auto max_rows = static_cast<int32_t>(tokens.size());
    const auto model = Load(folder, Shared(), {.max_rows = max_rows});
    const int64_t vocab = model->config().vocab_size;
    // With weights of 16 bits products of many rows round their inputs (docs/architecture.md).
    const double many_rows = HasWideWeights(folder) ? 1e-3 : 0.1;
    for (const size_t chunk : {size_t{1}, size_t{7}, tokens.size()}) {
      ASSERT_LE(LargestDifference(Feed(*model, tokens, chunk), expected, vocab),
                chunk == tokens.size() ? many_rows : 1e-3)
          << "in pieces of " << chunk;
    }
  }
}

TEST_P(CudaModelTest, GoldenLogitsWithABf16Cache) {
  for (const fs::path& folder : GoldenCases()) {
    SCOPED_TRACE(folder.filename());
    const auto tokens = GoldenTokens(folder);
    const auto expected = GoldenLogits(folder);
    engine::ModelOptions options{.cache_type = kernels::CacheType::kBF16};
    const auto model = Load(folder, Shared(), options);
    if (model->config().attention.Selects()) continue;  // rounded keys let others be chosen
    // Every key and value of two layers has 8 bits of mantissa, as in tests/e2e/test_golden.py.
    const auto logits = Feed(*model, tokens, 40);
    ASSERT_LE(LargestDifference(logits, expected, model->config().vocab_size), 0.3);
  }
}

/// Products with integers are the CPU's to the bit, but their inputs, which are rounded, come from
/// attention and norms that are not: now and then a code is the next one.
TEST_P(CudaModelTest, GoldenCasesWithIntegerWeightsEqualTheCpus) {
  for (const auto& [name, weights] : std::vector<std::pair<std::string, engine::WeightType>>{
           {"modern_hierarchical", engine::WeightType::kInt8},
           {"pretrained_qwen3", engine::WeightType::kInt4}}) {
    SCOPED_TRACE(name);
    auto tokens = GoldenTokens(kGolden / name);
    tokens.resize(48);
    const engine::ModelOptions options{.max_rows = 48, .weights = weights};
    const auto model = Load(kGolden / name, Shared(), options);
    const auto reference = Load(kGolden / name, *kernels::MakeCpuBackend(1), options);
    const auto expected = Feed(*reference, tokens, tokens.size());
    // A row, which rounds its inputs in the product, and rows of another launch and kernel.
    for (const size_t chunk : {size_t{1}, size_t{12}, tokens.size()}) {
      EXPECT_LE(
          LargestDifference(Feed(*model, tokens, chunk), expected, model->config().vocab_size), 0.1)
          << "in pieces of " << chunk;
    }
  }
}

/// Sequences that are decoded together; each has its own start and end.
class Batch {
 public:
  Batch(engine::Model& model, const std::vector<std::vector<int32_t>>& tokens)
      : model_(model),
        tokens_(tokens),
        pool_(*engine::SlotPool::Create(model.backend(), model.layout(),
                                        static_cast<int32_t>(tokens.size()))) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      slots_.push_back(pool_->Acquire());
      archives_.emplace_back(model_);
    }
  }

  /// Step `step` feeds one token of each sequence i with step >= i and tokens left. Returns the
  /// logits; empty at the end.
  std::vector<float> Step(int64_t step) {
    std::vector<engine::StepSegment> segments;
    for (int64_t i = 0; i < static_cast<int64_t>(tokens_.size()); ++i) {
      const int64_t position = step - i;
      if (position < 0 || position >= static_cast<int64_t>(tokens_[i].size())) continue;
      segments.push_back(
          {slots_[i].handle(), position, std::span(tokens_[i]).subspan(position, 1), 1});
      if (i % 4 != 3) archives_[i].Give(segments.back());
    }
    if (segments.empty()) return {};
    const auto logits = model_.Step(segments);
    EXPECT_TRUE(logits.ok()) << logits.status();
    return logits.ok() ? std::vector<float>(logits->begin(), logits->end()) : std::vector<float>();
  }

 private:
  engine::Model& model_;
  const std::vector<std::vector<int32_t>>& tokens_;
  std::unique_ptr<engine::SlotPool> pool_;
  std::vector<engine::Slot> slots_;
  std::vector<ModelArchive> archives_;  // where the model opens units; every fourth has none
};

/// One more row in each step up to 14, so that every graph's padding is used, and down again; steps
/// of one size come at different positions.
TEST_P(CudaModelTest, DecodeBatchesOfEverySizeEqualTheCpu) {
  std::mt19937 random(1);
  const TempFolder folder;
  for (const kernels::WeightFormat dtype :
       {kernels::WeightFormat::kF32, kernels::WeightFormat::kBF16, kernels::WeightFormat::kF16}) {
    SCOPED_TRACE(kernels::NameOf(dtype));
    const bool norms_heads = dtype == kernels::WeightFormat::kF32;
    const model::ModelConfig config = norms_heads ? NormingConfig() : SmallConfig();
    ASSERT_TRUE(WriteRandomCheckpoint(config, 3, dtype, folder.path()).ok());
    const auto model = Load(folder.path(), Shared(), {.max_rows = 20});
    const auto reference = Load(folder.path(), *kernels::MakeCpuBackend(1), {.max_rows = 20});
    std::vector<std::vector<int32_t>> tokens(14);
    for (auto& sequence : tokens) {
      sequence.resize(20 + random() % 12);
      for (int32_t& token : sequence) token = static_cast<int32_t>(random() % 260);
    }
    Batch batch(*model, tokens);
    Batch expected(*reference, tokens);
    // Inputs of more than 8 rows are rounded to 16-bit weights' type.
    const double tolerance = dtype == kernels::WeightFormat::kF32 ? 1e-3 : 0.15;
    for (int64_t step = 0;; ++step) {
      const auto logits = batch.Step(step);
      ASSERT_LE(LargestDifference(logits, expected.Step(step), 260), tolerance) << step;
      if (logits.empty()) break;
    }
  }
}

TEST_P(CudaModelTest, OpenedUnitsInDecodeBatchesEqualTheCpu) {
  std::mt19937 random(5);
  const TempFolder folder;
  ASSERT_TRUE(
      WriteRandomCheckpoint(OpeningConfig(), 3, kernels::WeightFormat::kF32, folder.path()).ok());
  const auto model = Load(folder.path(), Shared(), {.max_rows = 20});
  const auto reference = Load(folder.path(), *kernels::MakeCpuBackend(1), {.max_rows = 20});
  std::vector<std::vector<int32_t>> tokens(6);
  for (auto& sequence : tokens) {
    sequence.resize(60 + random() % 20);
    for (int32_t& token : sequence) token = static_cast<int32_t>(random() % 260);
  }
  Batch batch(*model, tokens);
  Batch expected(*reference, tokens);
  for (int64_t step = 0;; ++step) {
    const auto logits = batch.Step(step);
    ASSERT_LE(LargestDifference(logits, expected.Step(step), 260), 1e-3) << step;
    if (logits.empty()) break;
  }
}

class CudaSlotTest : public CudaModelTest {
 protected:
  void ExpectToMoveBetweenBackends(const model::ModelConfig& config);
};

void CudaSlotTest::ExpectToMoveBetweenBackends(const model::ModelConfig& config) {
  std::mt19937 random(2);
  const TempFolder folder;
  ASSERT_TRUE(WriteRandomCheckpoint(config, 4, kernels::WeightFormat::kF32, folder.path()).ok());
  const auto there = Load(folder.path(), Shared(), {.max_rows = 16});
  const auto here = Load(folder.path(), *kernels::MakeCpuBackend(1), {.max_rows = 16});
  std::vector<int32_t> tokens(90);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 260);
  const auto expected = Feed(*here, tokens, 16);
  ModelArchive archive_there(*there);
  ModelArchive archive_here(*here);

  const auto pool_there = engine::SlotPool::Create(there->backend(), there->layout(), 1);
  const auto pool_here = engine::SlotPool::Create(here->backend(), here->layout(), 1);
  const engine::Slot slot_there = (*pool_there)->Acquire();
  const engine::Slot slot_here = (*pool_here)->Acquire();
  std::vector<std::byte> bytes(there->slot_bytes());
  bool on_device = true;
  std::vector<float> logits;
  for (int64_t position = 0; position < 90; ++position, on_device = position % 13 < 7) {
    engine::Model& model = on_device ? *there : *here;
    const engine::Slot& slot = on_device ? slot_there : slot_here;
    engine::StepSegment segment{slot.handle(), position, std::span(tokens).subspan(position, 1), 1};
    (on_device ? archive_there : archive_here).Give(segment);
    const auto row = model.Step({&segment, 1});
    ASSERT_TRUE(row.ok()) << row.status();
    logits.insert(logits.end(), row->begin(), row->end());
    ASSERT_TRUE(model.backend().SaveSlot(slot.handle(), bytes).ok());
    ASSERT_TRUE(there->backend().RestoreSlot(bytes, slot_there.handle()).ok());
    ASSERT_TRUE(here->backend().RestoreSlot(bytes, slot_here.handle()).ok());
    if (on_device) {
      archive_there.CopyTo(archive_here, position + 1);
    } else {
      archive_here.CopyTo(archive_there, position + 1);
    }
  }
  EXPECT_LE(LargestDifference(logits, expected, 260), 1e-3);
}

TEST_P(CudaSlotTest, MovesBetweenBackends) { ExpectToMoveBetweenBackends(SmallConfig()); }

TEST_P(CudaSlotTest, OfSelectedTokensMovesBetweenBackends) {
  ExpectToMoveBetweenBackends(SelectingConfig());
}

TEST_P(CudaSlotTest, AndItsArchiveMoveBetweenBackends) {
  ExpectToMoveBetweenBackends(OpeningConfig());
}

FMA_ON_BACKENDS(CudaSlotTest, CudaBackendNames);

TEST_P(CudaModelTest, SamplesOfOnePromptEqualSoloRuns) {
  const TempFolder folder;
  ASSERT_TRUE(
      WriteRandomCheckpoint(SmallConfig(), 3, kernels::WeightFormat::kF32, folder.path()).ok());
  // Fewer slots than samples: some start from their parent's slot, the others from a copy.
  const engine::EngineOptions kOptions{.num_slots = 3, .max_queue = 20, .step_tokens = 40};
  const auto engine = engine::Engine::Create(
      Load(folder.path(), Shared(), {.max_rows = engine::Engine::MaxRows(kOptions)}), nullptr,
      kOptions);
  ASSERT_TRUE(engine.ok()) << engine.status();
  for (const int tokens : {1, 2, 57}) {
    engine::GenerateRequest request = Prompt(tokens, 6, 5);
    request.n = 5;
    request.sampling.temperature = 1;
    const auto samples = std::make_shared<SamplesSink>(5);
    ASSERT_TRUE((*engine)->Submit(request, samples).ok());
    ASSERT_TRUE(samples->Wait() && samples->status.ok()) << samples->status;
    request.n = 1;
    for (const std::vector<int32_t>& sample : samples->tokens) {
      EXPECT_EQ(sample, Complete(**engine, request)->tokens) << *request.sampling.seed;
      ++*request.sampling.seed;
    }
  }
}

TEST_P(CudaModelTest, GeneratesWhatTheCpuGenerates) {
  const TempFolder folder;
  ASSERT_TRUE(
      WriteRandomCheckpoint(SmallConfig(), 3, kernels::WeightFormat::kF32, folder.path()).ok());
  const engine::EngineOptions kOptions{.num_slots = 3, .max_queue = 20, .step_tokens = 40};
  const auto make = [&](std::shared_ptr<kernels::Backend> backend) {
    auto engine = engine::Engine::Create(
        Load(folder.path(), std::move(backend), {.max_rows = engine::Engine::MaxRows(kOptions)}),
        nullptr, kOptions);
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  };
  const auto cpu = make(*kernels::MakeCpuBackend(1));
  const auto cuda = make(Shared());
  for (int i = 0; i < Rounds(12); ++i) {
    engine::GenerateRequest request = Prompt(10 + 17 * i, 8, i);
    request.sampling.temperature = i % 4 == 0 ? 0 : 0.7F;
    if (i % 2 == 0) request.sampling.top_p = 0.9F;
    if (i % 3 == 0) request.sampling.repetition_penalty = 1.3F;
    request.top_logprobs = 2;
    if (i % 3 == 2) request.prompt_logprobs = 0;  // needs logits, so the host chooses
    const auto expected = Complete(*cpu, request);
    const auto found = Complete(*cuda, request);
    ASSERT_TRUE(found->status.ok()) << found->status;
    EXPECT_EQ(found->tokens, expected->tokens);
    ASSERT_EQ(found->logprobs.size(), expected->logprobs.size());
    for (size_t t = 0; t < found->logprobs.size(); ++t) {
      EXPECT_NEAR(found->logprobs[t], expected->logprobs[t], 1e-3);
      EXPECT_EQ(found->top_logprobs[t][0].token, expected->top_logprobs[t][0].token);
    }
  }
}

TEST_P(CudaModelTest, SaysWhatDoesNotFit) {
  const auto pool = engine::SlotPool::Create(backend(), LayoutOf(int64_t{1} << 40), 4096);
  EXPECT_EQ(pool.status().code(), absl::StatusCode::kResourceExhausted) << pool.status();
  // What does fit can still be allocated.
  EXPECT_TRUE(engine::SlotPool::Create(backend(), LayoutOf(1 << 10), 16).ok());
}

FMA_ON_BACKENDS(CudaModelTest, CudaBackendNames);

}  // namespace
}  // namespace fmaserver::testing
