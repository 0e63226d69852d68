#include "tests/server/rpc/test_server.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace fmaserver::testing {

TestServer::TestServer(const model::ModelConfig& config, engine::EngineOptions options,
                       sessions::SessionOptions session_options, service::CallPolicy policy,
                       std::shared_ptr<const model::Tokenizer> tokenizer,
                       std::shared_ptr<const chat::ChatTemplate> chat_template,
                       const rpc::ServiceMakers& more) {
  auto engine = MakeTestEngine(config, options, std::move(tokenizer));
  auto sessions = MakeTestSessions(*engine, std::move(session_options));
  models_ = ServeTestModel(std::move(engine), std::move(sessions), std::move(chat_template));
  model_ = *models_->Find("");
  service_ = std::make_unique<service::Service>(*models_, std::move(policy));
  auto rpc = rpc::RpcServer::Start(*service_, {.listen = "127.0.0.1:0"}, more);
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
  grpc::ClientContext context;
  return ReadAll(*stub.Generate(&context, request));
}

Generated ReadAll(grpc::ClientReader<v1::GenerateResponse>& reader) {
  Generated result;
  v1::GenerateResponse response;
  while (reader.Read(&response)) {
    if (response.has_progress()) result.progress.push_back(response.progress().processed_tokens());
    if (response.has_delta()) result.deltas.push_back(response.delta());
    if (response.has_finished()) result.finished.push_back(response.finished());
    if (response.has_interrupted()) result.resume_token = response.interrupted().resume_token();
  }
  result.status = reader.Finish();
  return result;
}

}  // namespace fmaserver::testing
