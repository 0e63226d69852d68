// The OpenAI door in front of a small random model, on a free port of this machine.
#pragma once

#include <memory>

#include "server/openai/openai_server.h"
#include "server/service/service.h"
#include "tests/server/service/test_engine.h"

namespace fmaserver::testing {

struct DoorOptions {
  model::ModelConfig config = ByteModelConfig();
  engine::EngineOptions engine = {};
  service::CallPolicy policy = {};
  service::DoorOptions door = {.listen = "127.0.0.1:0"};
  openai::Patience patience = {};
  sessions::SessionOptions sessions = {};
  std::shared_ptr<const model::Tokenizer> tokenizer = nullptr;
  std::shared_ptr<const chat::ChatTemplate> chat_template = nullptr;
};

/// Options of a model that chats.
DoorOptions ChatDoor();

class Door {
 public:
  explicit Door(DoorOptions options = {});

  int port() const { return server_->port(); }
  openai::OpenAiServer& server() { return *server_; }
  engine::Engine& engine() { return model_->engine(); }
  sessions::SessionStore& sessions() { return model_->sessions(); }
  service::Service& service() { return *service_; }

 private:
  std::unique_ptr<models::ModelRegistry> models_;
  models::ModelPtr model_;
  std::unique_ptr<service::Service> service_;
  std::unique_ptr<openai::OpenAiServer> server_;
};

}  // namespace fmaserver::testing
