#include "tests/server/openai/door_fixture.h"

#include <utility>

namespace fmaserver::testing {

DoorOptions ChatDoor() {
  return {.config = ChatModelConfig(),
          .tokenizer = ChatTokenizer(),
          .chat_template = TestChatTemplate()};
}

Door::Door(DoorOptions options) {
  auto engine = MakeTestEngine(options.config, options.engine, std::move(options.tokenizer));
  auto sessions = MakeTestSessions(*engine, std::move(options.sessions));
  models_ =
      ServeTestModel(std::move(engine), std::move(sessions), std::move(options.chat_template));
  model_ = *models_->Find("");
  service_ = std::make_unique<service::Service>(*models_, std::move(options.policy));
  auto server =
      openai::OpenAiServer::Start(*service_, options.door,
                                  std::make_shared<net::ConnectionTable>(
                                      net::ConnectionLimits{.total = 1000, .per_address = 1000}),
                                  nullptr, options.patience);
  Require(server.status());
  server_ = *std::move(server);
}

}  // namespace fmaserver::testing
