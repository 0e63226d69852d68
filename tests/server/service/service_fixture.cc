#include "tests/server/service/service_fixture.h"

#include <variant>

namespace fmaserver::testing {

TestService::TestService(const TestServiceOptions& options) {
  const auto access = AccessOf(options.tokens);
  engine::EngineOptions limits = options.engine;
  limits.archive.tenant_bytes = [access](const std::string& tenant) {
    return access->LimitsOf(tenant).archive_bytes;
  };
  auto engine = options.chats
                    ? MakeTestEngine(ChatModelConfig(), limits, ChatTokenizer())
                    : MakeTestEngine(options.opens ? OpeningModelConfig() : ByteModelConfig(),
                                     limits, tokenizer_);
  sessions_ = MakeTestSessions(*engine, options.sessions);
  models_ =
      ServeTestModel(std::move(engine), sessions_, options.chats ? TestChatTemplate() : nullptr);
  service_ = std::make_unique<service::Service>(
      *models_,
      service::CallPolicy{.access = access, .observer = reports_, .limits = options.limits});
}

service::GenerateRequest TextRequest(const std::string& text, int64_t max_tokens) {
  service::GenerateRequest request;
  request.prompt.text = text;
  request.options.max_tokens = max_tokens;
  request.options.sampling.seed = 7;
  return request;
}

GenerateCall::GenerateCall(TestService& service, service::GenerateRequest request,
                           const GenerateCallOptions& options) {
  door_->at_end = options.at_end;
  const size_t bytes = options.bytes.value_or(request.prompt.text.value_or("").size());
  call_ = service::Generation::Start(
      *service, service.model(), service.Begin(service::kGenerate, options.authorization), door_,
      bytes, [parsed = parsed_, request = std::move(request)] {
        *parsed = true;
        return absl::StatusOr<service::GenerateRequest>(request);
      });
}

int64_t GenerateCall::CountTokens() const {
  int64_t tokens = 0;
  for (const service::GenerateEvent& event : door_->events()) {
    if (const auto* delta = std::get_if<engine::Delta>(&event)) tokens += std::ssize(delta->tokens);
  }
  return tokens;
}

const service::GenerationFinished* GenerateCall::finished() const {
  if (door_->events().empty()) return nullptr;
  return std::get_if<service::GenerationFinished>(&door_->events().back());
}

std::string GenerateCall::resume_token() const {
  for (const service::GenerateEvent& event : door_->events()) {
    if (const auto* interrupted = std::get_if<service::GenerationInterrupted>(&event)) {
      return interrupted->resume_token;
    }
  }
  return {};
}

std::shared_ptr<GenerateCall::Door> ResumeElsewhere(
    std::unique_ptr<engine::Engine> engine, std::shared_ptr<sessions::SessionStore> sessions,
    const std::string& token) {
  const auto models = ServeTestModel(std::move(engine), std::move(sessions));
  const auto door = std::make_shared<GenerateCall::Door>();
  service::Service other(*models, {});
  const auto call = service::Generation::Start(
      other, *models->Find(""), other.Begin(service::kGenerate, {}), door, 0, [token] {
        service::GenerateRequest resume;
        resume.resume_token = token;
        return absl::StatusOr<service::GenerateRequest>(resume);
      });
  EXPECT_TRUE(door->Run(*call).ok());
  return door;
}

}  // namespace fmaserver::testing
