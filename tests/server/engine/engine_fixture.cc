#include "tests/server/engine/engine_fixture.h"

#include <random>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "model_loader/checkpoint.h"
#include "tests/support/checkpoint_builder.h"

namespace fmaserver::testing {

model::ModelConfig SmallConfig() {
  model::ModelConfig config;
  config.vocab_size = 260;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_layers = 2;
  config.max_position_embeddings = 4096;
  config.attention.num_heads = 4;
  config.attention.num_kv_heads = 2;
  config.attention.head_dim = 8;
  config.attention.hierarchy = {8, 2, 4, 0};
  config.attention.share_levels = true;
  config.attention.far_positions = kernels::FarPositions::kNone;
  config.eos_token_ids = {257};
  config.tokenizer = model::TokenizerKind::kBytes;
  return config;
}

model::ModelConfig SelectingConfig() {
  model::ModelConfig config = SmallConfig();
  kernels::AttentionSpec& attention = config.attention;
  attention.hierarchy = {.group_size = 8, .rank = 3, .num_levels = 4, .sink_tokens = 2};
  attention.downsampling = kernels::Downsampling::kSelect;
  attention.share_levels = false;
  attention.far_positions = kernels::FarPositions::kOwn;
  attention.select_lag = 2;
  attention.select_novel = 1;
  attention.max_distance = 70;
  return config;
}

model::ModelConfig OpeningConfig() {
  model::ModelConfig config = SelectingConfig();
  config.attention.open_units = 3;
  config.attention.open_size = 4;
  return config;
}

kernels::ArchiveLayout OpeningLayout() {
  const model::ModelConfig config = OpeningConfig();
  return {config.attention, config.num_layers, engine::ModelOptions().cache_type};
}

model::ModelConfig NormingConfig() {
  model::ModelConfig config = SmallConfig();
  config.qk_norm = true;
  config.rope_factors = {1, 1.5, 4, 8};
  config.attention.rope_attention_factor = 1.2;
  config.attention.far_positions = kernels::FarPositions::kCenter;
  config.layers_without_rope = {0};
  return config;
}

std::unique_ptr<engine::Model> MakeModel(const model::ModelConfig& config, uint64_t seed,
                                         int32_t max_rows, int threads) {
  const TempFolder folder;
  EXPECT_TRUE(WriteRandomCheckpoint(config, seed, kernels::WeightFormat::kF32, folder.path()).ok());
  const auto checkpoint = model::Checkpoint::Open(folder.path());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  auto backend = kernels::MakeCpuBackend(threads);
  EXPECT_TRUE(backend.ok());
  engine::ModelOptions options;
  options.max_rows = max_rows;
  auto model = engine::Model::Load(*checkpoint, *std::move(backend), options);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

std::unique_ptr<engine::Engine> MakeEngine(engine::EngineOptions options,
                                           const model::ModelConfig& config) {
  auto model = MakeModel(config, 3, engine::Engine::MaxRows(options));
  auto engine = engine::Engine::Create(std::move(model),
                                       model::MakeByteTokenizer(config.vocab_size), options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return *std::move(engine);
}

engine::GenerateRequest Prompt(int length, int64_t max_tokens, uint64_t seed) {
  engine::GenerateRequest request;
  std::mt19937 random(seed);
  for (int i = 0; i < length; ++i) request.prompt.push_back(static_cast<int32_t>(random() % 256));
  request.max_tokens = max_tokens;
  request.sampling.seed = seed;
  request.ignore_eos = true;
  request.logprobs = true;
  return request;
}

std::shared_ptr<RecordingGenerateSink> Complete(engine::Engine& engine,
                                                engine::GenerateRequest request) {
  auto sink = std::make_shared<RecordingGenerateSink>();
  EXPECT_TRUE(engine.Submit(std::move(request), sink).ok());
  EXPECT_TRUE(sink->Wait());
  return sink;
}

}  // namespace fmaserver::testing
