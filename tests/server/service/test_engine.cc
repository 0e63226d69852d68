#include "tests/server/service/test_engine.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>

#include "base/file.h"
#include "kernels/cpu/cpu_backend.h"
#include "model_loader/checkpoint.h"
#include "model_loader/tokenizer_json/tokenizer.h"
#include "server/engine/model.h"
#include "server/sessions/fingerprint.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "test: %s\n", status.ToString().c_str());
  std::abort();
}

model::ModelConfig ByteModelConfig() {
  model::ModelConfig config;
  config.vocab_size = 256;
  config.hidden_size = 16;
  config.intermediate_size = 32;
  config.num_layers = 1;
  config.max_position_embeddings = 1 << 20;
  config.attention.num_heads = 2;
  config.attention.num_kv_heads = 1;
  config.attention.head_dim = 8;
  config.attention.hierarchy = {.group_size = 4, .rank = 2, .num_levels = 3, .sink_tokens = 0};
  config.tokenizer = model::TokenizerKind::kBytes;
  return config;
}

model::ModelConfig ShortModelConfig(int64_t positions) {
  model::ModelConfig config = ByteModelConfig();
  config.max_position_embeddings = positions;
  config.attention.positions = kernels::PositionEmbedding::kLearned;
  return config;
}

model::ModelConfig IdModelConfig() {
  model::ModelConfig config = ByteModelConfig();
  config.tokenizer = model::TokenizerKind::kFile;
  return config;
}

model::ModelConfig OpeningModelConfig() {
  model::ModelConfig config = ByteModelConfig();
  kernels::AttentionSpec& attention = config.attention;
  attention.downsampling = kernels::Downsampling::kSelect;
  attention.far_positions = kernels::FarPositions::kOwn;
  attention.select_lag = 1;
  attention.select_novel = 1;
  attention.max_distance = 40;
  attention.open_units = 2;
  attention.open_size = 2;
  return config;
}

model::ModelConfig ChatModelConfig() {
  model::ModelConfig config = IdModelConfig();
  config.vocab_size = 1024;
  config.eos_token_ids = {
      ChatTokenizer()->Encode("<|end|>", model::ControlTokens::kAreFound)->front()};
  return config;
}

std::shared_ptr<const model::Tokenizer> ChatTokenizer() {
  const std::string file = FMA_SOURCE_DIR "/tests/data/tokenizer/smollm.json";
  const auto json = ReadWholeFile(file, size_t{64} << 20);
  Require(json.status());
  auto tokenizer = model::MakeJsonTokenizer(*json, file, 1024);
  Require(tokenizer.status());
  return *std::move(tokenizer);
}

std::shared_ptr<const chat::ChatTemplate> TestChatTemplate() {
  auto made = chat::ChatTemplate::Parse(
      "{% for m in messages %}"
      "{% if m.role == 'nobody' %}{{ raise_exception('nobody speaks') }}{% endif %}"
      "{% if loop.first and m.role != 'system' %}{{ '<s>system\\nBe kind.<|end|>\\n' }}{% endif %}"
      "{{ '<s>' + m.role + '\\n' + m.content + '<|end|>' + '\\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<s>assistant\\n' }}{% endif %}",
      "chat_template.jinja", {});
  Require(made.status());
  return *std::move(made);
}

std::unique_ptr<engine::Engine> MakeTestEngine(const model::ModelConfig& config,
                                               engine::EngineOptions options,
                                               std::shared_ptr<const model::Tokenizer> tokenizer) {
  const TempFolder folder;
  Require(WriteRandomCheckpoint(config, /*seed=*/1, kernels::WeightFormat::kF32, folder.path()));
  auto checkpoint = model::Checkpoint::Open(folder.path());
  Require(checkpoint.status());
  auto backend = kernels::MakeCpuBackend(1);
  Require(backend.status());
  auto model = engine::Model::Load(*checkpoint, *std::move(backend),
                                   {.max_rows = engine::Engine::MaxRows(options)});
  Require(model.status());
  if (tokenizer == nullptr) tokenizer = checkpoint->tokenizer();
  auto engine = engine::Engine::Create(*std::move(model), std::move(tokenizer), options);
  Require(engine.status());
  return *std::move(engine);
}

std::unique_ptr<sessions::SessionStore> MakeTestSessions(const engine::Engine& engine,
                                                         sessions::SessionOptions options) {
  const model::ModelConfig& config = engine.config();
  const kernels::CacheType slots = engine.model().layout().type;
  const sessions::SessionModel model{
      .fingerprint = std::string(32, 'f'),
      .slot_bytes = engine.model().slot_bytes(),
      .vocab_size = config.vocab_size,
      .archives = engine.archives(),
      .type = slots,
      .others = sessions::OtherSlotsOf("test", config.attention, config.num_layers, slots)};
  auto sessions = sessions::SessionStore::Open(model, std::move(options), nullptr);
  Require(sessions.status());
  return *std::move(sessions);
}

std::unique_ptr<models::ModelRegistry> ServeTestModel(
    std::unique_ptr<engine::Engine> engine, std::shared_ptr<sessions::SessionStore> sessions,
    std::shared_ptr<const chat::ChatTemplate> chat_template) {
  auto registry = std::make_unique<models::ModelRegistry>([&](const models::ModelSource& source) {
    return std::make_unique<models::ServedModel>(source, std::move(engine), std::move(sessions),
                                                 std::vector<std::shared_ptr<const void>>{},
                                                 std::move(chat_template));
  });
  Require(registry->Load({.name = "test", .folder = {}}).status());
  return registry;
}

std::shared_ptr<const access::Access> AccessOf(const std::string& tokens) {
  const TempFolder folder;
  const std::string file = tokens.empty() ? "" : folder.path() / "tokens";
  if (!file.empty() && !WriteFile(file, tokens)) std::abort();
  auto access = access::Access::Open(file);
  Require(access.status());
  return *std::move(access);
}

bool Eventually(const std::function<bool()>& condition) {
  for (int tries = 0; tries < 2000; ++tries) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return condition();
}

}  // namespace fmaserver::testing
