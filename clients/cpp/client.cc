#include "clients/cpp/client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_interceptor.h>

#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "base/names.h"
#include "clients/cpp/proxy.h"
#include "clients/cpp/status.h"

namespace fmaserver::client {
namespace {

using grpc::experimental::ClientInterceptorFactoryInterface;

/// Adds the token to the metadata of a call. gRPC's own call credentials need TLS.
class TokenBearer final : public grpc::experimental::Interceptor {
 public:
  explicit TokenBearer(const std::string& header) : header_(header) {}
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using grpc::experimental::InterceptionHookPoints;
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->emplace("authorization", header_);
    }
    methods->Proceed();
  }

 private:
  const std::string& header_;
};

class TokenBearers final : public ClientInterceptorFactoryInterface {
 public:
  explicit TokenBearers(const std::string& token) : header_("Bearer " + token) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo* /*call*/) override {
    return new TokenBearer(header_);  // gRPC deletes it
  }

 private:
  const std::string header_;
};

std::shared_ptr<grpc::Channel> Connect(const std::string& address,
                                       const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                                       const std::string& token) {
  grpc::ChannelArguments arguments;
  // The tokens of a long text can exceed the default limit of 4 MiB.
  arguments.SetMaxReceiveMessageSize(-1);
  // While a prompt of millions of tokens is read the stream is silent for long; pings keep the
  // connection open through proxies.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>> interceptors;
  if (!token.empty()) interceptors.push_back(std::make_unique<TokenBearers>(token));
  return grpc::experimental::CreateCustomChannelWithInterceptors(address, credentials, arguments,
                                                                 std::move(interceptors));
}

/// By this metadata a load balancer finds the replica that has the session in memory.
void NameSession(grpc::ClientContext& context, const std::string& session_id) {
  // What is no id may not be metadata either, and is the server's to refuse.
  if (IsName(session_id)) context.AddMetadata("x-session-id", session_id);
}

}  // namespace

absl::Status Client::Outcome(const grpc::Status& status) const {
  absl::Status result = FromGrpcStatus(status);
  if (!absl::IsUnavailable(result) && !absl::IsDeadlineExceeded(result)) return result;
  absl::Status hinted(result.code(), absl::StrCat(result.message(), proxy_hint_));
  result.ForEachPayload([&hinted](absl::string_view type, const absl::Cord& payload) {
    hinted.SetPayload(type, payload);
  });
  return hinted;
}

template <class Response>
absl::StatusOr<Response> Client::Answer(const grpc::Status& status, Response& response) const {
  if (!status.ok()) return Outcome(status);
  return std::move(response);
}

template <class Response, class Handler>
absl::Status Client::ReadAll(grpc::ClientReader<Response>& reader, const Handler& handler) const {
  Response response;
  while (reader.Read(&response)) handler(response);
  return Outcome(reader.Finish());
}

Client::Client(const std::string& address,
               const std::shared_ptr<grpc::ChannelCredentials>& credentials,
               const std::string& token)
    : proxy_hint_(ProxyHint(address)),
      channel_(Connect(address, credentials, token)),
      generation_(v1::Generation::NewStub(channel_)),
      encoders_(v1::Encoders::NewStub(channel_)),
      sessions_(v1::Sessions::NewStub(channel_)),
      admin_(v1::Admin::NewStub(channel_)),
      health_(grpc::health::v1::Health::NewStub(channel_)) {}

absl::Status Client::Generate(grpc::ClientContext& context, const v1::GenerateRequest& request,
                              const GenerateHandler& handler) {
  NameSession(context, request.session_id());
  return ReadAll(*generation_->Generate(&context, request), handler);
}

absl::Status Client::Chat(grpc::ClientContext& context, const v1::ChatRequest& request,
                          const GenerateHandler& handler) {
  NameSession(context, request.options().session_id());
  return ReadAll(*generation_->Chat(&context, request), handler);
}

absl::Status Client::Score(grpc::ClientContext& context, const v1::ScoreRequest& request,
                           const ScoreHandler& handler) {
  return ReadAll(*generation_->Score(&context, request), handler);
}

absl::Status Client::Embed(grpc::ClientContext& context, const v1::EmbedRequest& request,
                           const EmbedHandler& handler) {
  return ReadAll(*encoders_->Embed(&context, request), handler);
}

absl::Status Client::FillMask(grpc::ClientContext& context, const v1::FillMaskRequest& request,
                              const FillMaskHandler& handler) {
  return ReadAll(*encoders_->FillMask(&context, request), handler);
}

absl::StatusOr<v1::TokenizeResponse> Client::Tokenize(grpc::ClientContext& context,
                                                      const v1::TokenizeRequest& request) {
  v1::TokenizeResponse response;
  return Answer(generation_->Tokenize(&context, request, &response), response);
}

absl::StatusOr<v1::DetokenizeResponse> Client::Detokenize(grpc::ClientContext& context,
                                                          const v1::DetokenizeRequest& request) {
  v1::DetokenizeResponse response;
  return Answer(generation_->Detokenize(&context, request, &response), response);
}

absl::StatusOr<v1::Model> Client::GetModel(grpc::ClientContext& context,
                                           const v1::GetModelRequest& request) {
  v1::Model response;
  return Answer(generation_->GetModel(&context, request, &response), response);
}

absl::StatusOr<v1::ListModelsResponse> Client::ListModels(grpc::ClientContext& context) {
  v1::ListModelsResponse response;
  return Answer(generation_->ListModels(&context, {}, &response), response);
}

absl::StatusOr<v1::Model> Client::LoadModel(grpc::ClientContext& context,
                                            const v1::LoadModelRequest& request) {
  v1::Model response;
  return Answer(admin_->LoadModel(&context, request, &response), response);
}

absl::Status Client::UnloadModel(grpc::ClientContext& context,
                                 const v1::UnloadModelRequest& request) {
  v1::UnloadModelResponse response;
  return Outcome(admin_->UnloadModel(&context, request, &response));
}

absl::StatusOr<bool> Client::IsServing(grpc::ClientContext& context) {
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status = health_->Check(&context, {}, &response);
  if (!status.ok()) return Outcome(status);
  return response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
}

absl::StatusOr<v1::Session> Client::CreateSession(grpc::ClientContext& context,
                                                  const v1::CreateSessionRequest& request) {
  NameSession(context, request.session_id());
  v1::Session response;
  return Answer(sessions_->Create(&context, request, &response), response);
}

absl::StatusOr<v1::Session> Client::GetSession(grpc::ClientContext& context,
                                               const v1::GetSessionRequest& request) {
  NameSession(context, request.session_id());
  v1::Session response;
  return Answer(sessions_->Get(&context, request, &response), response);
}

absl::StatusOr<v1::ListSessionsResponse> Client::ListSessions(
    grpc::ClientContext& context, const v1::ListSessionsRequest& request) {
  v1::ListSessionsResponse response;
  return Answer(sessions_->List(&context, request, &response), response);
}

absl::StatusOr<v1::Session> Client::UpdateSession(grpc::ClientContext& context,
                                                  const v1::UpdateSessionRequest& request) {
  NameSession(context, request.session_id());
  v1::Session response;
  return Answer(sessions_->Update(&context, request, &response), response);
}

absl::StatusOr<v1::ForkSessionResponse> Client::ForkSession(grpc::ClientContext& context,
                                                            const v1::ForkSessionRequest& request) {
  NameSession(context, request.session_id());
  v1::ForkSessionResponse response;
  return Answer(sessions_->Fork(&context, request, &response), response);
}

absl::StatusOr<v1::Session> Client::RewindSession(grpc::ClientContext& context,
                                                  const v1::RewindSessionRequest& request) {
  NameSession(context, request.session_id());
  v1::Session response;
  return Answer(sessions_->Rewind(&context, request, &response), response);
}

absl::Status Client::DeleteSession(grpc::ClientContext& context,
                                   const v1::DeleteSessionRequest& request) {
  NameSession(context, request.session_id());
  v1::DeleteSessionResponse response;
  return Outcome(sessions_->Delete(&context, request, &response));
}

absl::Status Client::ExportSession(grpc::ClientContext& context,
                                   const v1::ExportSessionRequest& request,
                                   const ExportHandler& handler) {
  NameSession(context, request.session_id());
  return ReadAll(*sessions_->Export(&context, request), handler);
}

absl::StatusOr<v1::Session> Client::ImportSession(grpc::ClientContext& context,
                                                  const v1::CreateSessionRequest& session,
                                                  const BlobReader& blob) {
  NameSession(context, session.session_id());
  v1::Session response;
  const auto writer = sessions_->Import(&context, &response);
  v1::ImportSessionRequest request;
  *request.mutable_session() = session;
  bool open = writer->Write(request);
  request.clear_session();
  while (open && blob(*request.mutable_data())) open = writer->Write(request);
  writer->WritesDone();
  return Answer(writer->Finish(), response);
}

}  // namespace fmaserver::client
