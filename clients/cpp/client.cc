#include "clients/cpp/client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

namespace fmaserver {
namespace {

absl::Status ToAbsl(const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

template <class Response>
absl::StatusOr<Response> Answer(const grpc::Status& status, Response& response) {
  if (!status.ok()) return ToAbsl(status);
  return std::move(response);
}

template <class Response, class Handler>
absl::Status ReadAll(grpc::ClientReader<Response>& reader, const Handler& handler) {
  Response response;
  while (reader.Read(&response)) handler(response);
  return ToAbsl(reader.Finish());
}

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  // The tokens of a long text are more than the 4 MiB that are the default.
  arguments.SetMaxReceiveMessageSize(-1);
  // A prompt of millions of tokens is silent for long; pings keep the connection through proxies.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

Client::Client(const std::string& address)
    : channel_(Connect(address)), stub_(v1::Generation::NewStub(channel_)) {}

absl::Status Client::Generate(grpc::ClientContext& context, const v1::GenerateRequest& request,
                              const GenerateHandler& handler) {
  return ReadAll(*stub_->Generate(&context, request), handler);
}

absl::Status Client::Score(grpc::ClientContext& context, const v1::ScoreRequest& request,
                           const ScoreHandler& handler) {
  return ReadAll(*stub_->Score(&context, request), handler);
}

absl::StatusOr<v1::TokenizeResponse> Client::Tokenize(grpc::ClientContext& context,
                                                      const v1::TokenizeRequest& request) {
  v1::TokenizeResponse response;
  return Answer(stub_->Tokenize(&context, request, &response), response);
}

absl::StatusOr<v1::DetokenizeResponse> Client::Detokenize(grpc::ClientContext& context,
                                                          const v1::DetokenizeRequest& request) {
  v1::DetokenizeResponse response;
  return Answer(stub_->Detokenize(&context, request, &response), response);
}

absl::StatusOr<v1::Model> Client::GetModel(grpc::ClientContext& context) {
  v1::Model response;
  return Answer(stub_->GetModel(&context, {}, &response), response);
}

}  // namespace fmaserver
