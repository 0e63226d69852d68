#include "tests/server/engine/engine_fixture.h"

#include <random>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "model_loader/checkpoint.h"
#include "tests/support/checkpoint_builder.h"

namespace fmaserver::testing {

ModelConfig SmallConfig() {
  ModelConfig config;
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
  config.attention.far_positions = FarPositions::kNone;
  config.eos_token_ids = {257};
  config.byte_tokenizer = true;
  return config;
}

std::unique_ptr<Model> MakeModel(const ModelConfig& config, uint64_t seed, int32_t max_rows,
                                 int threads) {
  const TempFolder folder;
  EXPECT_TRUE(WriteRandomCheckpoint(config, seed, DType::kF32, folder.path()).ok());
  const auto checkpoint = Checkpoint::Open(folder.path());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  auto backend = MakeCpuBackend(threads);
  EXPECT_TRUE(backend.ok());
  ModelOptions options;
  options.max_rows = max_rows;
  auto model = Model::Load(*checkpoint, *std::move(backend), options);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

std::unique_ptr<Engine> MakeEngine(EngineOptions options, const ModelConfig& config) {
  auto model = MakeModel(config, 3, Engine::MaxRows(options));
  auto engine = Engine::Create(std::move(model), MakeByteTokenizer(config.vocab_size), options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return *std::move(engine);
}

GenerateRequest Prompt(int length, int64_t max_tokens, uint64_t seed) {
  GenerateRequest request;
  std::mt19937 random(seed);
  for (int i = 0; i < length; ++i) request.prompt.push_back(static_cast<int32_t>(random() % 256));
  request.max_tokens = max_tokens;
  request.sampling.seed = seed;
  request.ignore_eos = true;
  request.logprobs = true;
  return request;
}

std::shared_ptr<RecordingGenerateSink> Complete(Engine& engine, GenerateRequest request) {
  auto sink = std::make_shared<RecordingGenerateSink>();
  EXPECT_TRUE(engine.Submit(std::move(request), sink).ok());
  EXPECT_TRUE(sink->Wait());
  return sink;
}

}  // namespace fmaserver::testing
