#include "tests/server/rpc/test_server.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/cpu_backend.h"
#include "model_loader/checkpoint.h"
#include "server/engine/model.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "test server: %s\n", status.ToString().c_str());
  std::abort();
}

}  // namespace

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
  config.byte_tokenizer = true;
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
  config.byte_tokenizer = false;
  return config;
}

std::unique_ptr<engine::Engine> MakeTestEngine(const model::ModelConfig& config,
                                               engine::EngineOptions options) {
  const TempFolder folder;
  Require(WriteRandomCheckpoint(config, /*seed=*/1, kernels::DType::kF32, folder.path()));
  auto checkpoint = model::Checkpoint::Open(folder.path());
  Require(checkpoint.status());
  auto backend = kernels::MakeCpuBackend(1);
  Require(backend.status());
  auto model = engine::Model::Load(*checkpoint, *std::move(backend),
                                   {.max_rows = engine::Engine::MaxRows(options)});
  Require(model.status());
  auto engine = engine::Engine::Create(*std::move(model), checkpoint->tokenizer(), options);
  Require(engine.status());
  return *std::move(engine);
}

std::unique_ptr<sessions::SessionStore> MakeTestSessions(const engine::Engine& engine,
                                                         sessions::SessionOptions options) {
  const sessions::SessionModel model{.fingerprint = std::string(32, 'f'),
                                     .slot_bytes = engine.model().slot_bytes(),
                                     .vocab_size = engine.model().config().vocab_size};
  auto sessions = sessions::SessionStore::Open(model, std::move(options), nullptr);
  Require(sessions.status());
  return *std::move(sessions);
}

TestServer::TestServer(const model::ModelConfig& config, engine::EngineOptions options,
                       sessions::SessionOptions session_options)
    : engine_(MakeTestEngine(config, options)) {
  sessions_ = MakeTestSessions(*engine_, std::move(session_options));
  auto rpc = rpc::RpcServer::Start(*engine_, *sessions_, {.listen = "127.0.0.1:0"});
  Require(rpc.status());
  rpc_ = *std::move(rpc);
  stub_ = v1::Generation::NewStub(NewChannel());
}

std::string TestServer::Address() const { return absl::StrCat("127.0.0.1:", rpc_->port()); }

std::shared_ptr<grpc::Channel> TestServer::NewChannel() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(Address(), grpc::InsecureChannelCredentials(), arguments);
}

std::vector<uint32_t> Generated::TokenIds() const {
  std::vector<uint32_t> ids;
  for (const v1::Delta& delta : deltas) {
    ids.insert(ids.end(), delta.token_ids().begin(), delta.token_ids().end());
  }
  return ids;
}

std::string Generated::Text() const {
  std::string text;
  for (const v1::Delta& delta : deltas) text += delta.text();
  for (const v1::Finished& last : finished) text += last.text();
  return text;
}

v1::GenerateRequest TextRequest(const std::string& text, uint32_t max_tokens) {
  v1::GenerateRequest request;
  request.set_text(text);
  request.set_max_tokens(max_tokens);
  request.mutable_sampling()->set_seed(7);
  return request;
}

Generated Generate(v1::Generation::Stub& stub, const v1::GenerateRequest& request) {
  Generated result;
  grpc::ClientContext context;
  const auto reader = stub.Generate(&context, request);
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
    if (response.has_progress()) result.progress.push_back(response.progress().processed_tokens());
    if (response.has_delta()) result.deltas.push_back(response.delta());
    if (response.has_finished()) result.finished.push_back(response.finished());
    if (response.has_interrupted()) result.resume_token = response.interrupted().resume_token();
  }
  result.status = reader->Finish();
  return result;
}

bool Eventually(const std::function<bool()>& condition) {
  for (int tries = 0; tries < 2000; ++tries) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return condition();
}

}  // namespace fmaserver::testing
