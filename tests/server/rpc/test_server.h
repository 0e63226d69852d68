// A server with a small random model, on a free port of this machine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fma/v1/generation.grpc.pb.h"
#include "model_loader/model_config.h"
#include "server/engine/engine.h"
#include "server/rpc/rpc_server.h"
#include "server/sessions/session_store.h"

namespace fmaserver::testing {

/// Ids are bytes, so that generated text is random bytes; any length; no end of sequence.
model::ModelConfig ByteModelConfig();

/// Learned positions for `positions` tokens.
model::ModelConfig ShortModelConfig(int64_t positions);

/// Without a tokenizer.
model::ModelConfig IdModelConfig();

/// An engine alone. Ends the process when it cannot be set up, as TestServer does.
std::unique_ptr<engine::Engine> MakeTestEngine(const model::ModelConfig& config,
                                               engine::EngineOptions options);

class TestServer {
 public:
  explicit TestServer(const model::ModelConfig& config = ByteModelConfig(),
                      engine::EngineOptions options = {},
                      sessions::SessionOptions session_options = {});

  engine::Engine& engine() { return *engine_; }
  sessions::SessionStore& sessions() { return *sessions_; }
  rpc::RpcServer& rpc() { return *rpc_; }
  v1::Generation::Stub& stub() { return *stub_; }
  std::string Address() const;

  /// A channel of its own, so of its own connection.
  std::shared_ptr<grpc::Channel> NewChannel() const;

 private:
  std::unique_ptr<sessions::SessionStore> sessions_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<rpc::RpcServer> rpc_;
  std::unique_ptr<v1::Generation::Stub> stub_;
};

/// A whole Generate stream.
struct Generated {
  std::vector<uint64_t> progress;  // processed tokens of each progress message
  std::vector<v1::Delta> deltas;
  std::vector<v1::Finished> finished;
  std::string resume_token;
  grpc::Status status;

  std::vector<uint32_t> TokenIds() const;
  /// Of the deltas and the final message.
  std::string Text() const;
};

v1::GenerateRequest TextRequest(const std::string& text, uint32_t max_tokens);

Generated Generate(v1::Generation::Stub& stub, const v1::GenerateRequest& request);

/// Sessions of `engine`'s model.
std::unique_ptr<sessions::SessionStore> MakeTestSessions(const engine::Engine& engine,
                                                         sessions::SessionOptions options);

/// Polls until `condition` holds; false after 20 s.
bool Eventually(const std::function<bool()>& condition);

}  // namespace fmaserver::testing
