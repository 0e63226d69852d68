// A server with a small random model, on a free port of this machine.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fma/v1/generation.grpc.pb.h"
#include "server/rpc/rpc_server.h"
#include "server/service/service.h"
#include "tests/server/service/test_engine.h"

namespace fmaserver::testing {

class TestServer {
 public:
  explicit TestServer(const model::ModelConfig& config = ByteModelConfig(),
                      engine::EngineOptions options = {},
                      sessions::SessionOptions session_options = {},
                      service::CallPolicy policy = {},
                      std::shared_ptr<const model::Tokenizer> tokenizer = nullptr,
                      std::shared_ptr<const chat::ChatTemplate> chat_template = nullptr,
                      const rpc::ServiceMakers& more = {});

  engine::Engine& engine() { return model_->engine(); }
  sessions::SessionStore& sessions() { return model_->sessions(); }
  service::Service& service() { return *service_; }
  rpc::RpcServer& rpc() { return *rpc_; }
  v1::Generation::Stub& stub() { return *stub_; }
  std::string Address() const;

  /// A new channel, with its own connection.
  std::shared_ptr<grpc::Channel> NewChannel() const;

 private:
  std::unique_ptr<models::ModelRegistry> models_;
  models::ModelPtr model_;
  std::unique_ptr<service::Service> service_;
  std::unique_ptr<rpc::RpcServer> rpc_;
  std::unique_ptr<v1::Generation::Stub> stub_;
};

/// The contents of a whole Generate stream.
struct Generated {
  std::vector<uint64_t> progress;  // processed tokens of each progress message
  std::vector<v1::Delta> deltas;
  std::vector<v1::Finished> finished;
  std::string resume_token;
  grpc::Status status;

  std::vector<uint32_t> TokenIds() const;
  /// The text of the deltas and of the final message.
  std::string Text() const;
};

Generated ReadAll(grpc::ClientReader<v1::GenerateResponse>& reader);

/// Tokens that take longer than any test runs.
inline constexpr uint32_t kEndless = 100'000'000;

v1::GenerateRequest TextRequest(const std::string& text, uint32_t max_tokens);

Generated Generate(v1::Generation::Stub& stub, const v1::GenerateRequest& request);

}  // namespace fmaserver::testing
