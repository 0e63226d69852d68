// A C++ client of the Generation, Encoders, Sessions and Admin services: calls in, absl::Status and
// messages out.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/sync_stream.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fma/v1/admin.grpc.pb.h"
#include "fma/v1/encoders.grpc.pb.h"
#include "fma/v1/generation.grpc.pb.h"
#include "fma/v1/sessions.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace fmaserver::client {

/// Thread-safe. Connects at the first call, and again when the connection breaks.
///
/// Every call takes a fresh grpc::ClientContext of the caller, which sets its deadline and metadata
/// and whose TryCancel() ends it from another thread. Errors keep the server's code, message and
/// hint when to try again (status.h); UNAVAILABLE also means that there is no server at the
/// address. Calls about a session bring its id as metadata "x-session-id" too (docs/cluster.md).
class Client {
 public:
  /// Receives a stream's messages in order, on the calling thread.
  using GenerateHandler = std::function<void(const v1::GenerateResponse&)>;
  using ScoreHandler = std::function<void(const v1::ScoreResponse&)>;
  using EmbedHandler = std::function<void(const v1::EmbedResponse&)>;
  using FillMaskHandler = std::function<void(const v1::FillMaskResponse&)>;
  using ExportHandler = std::function<void(const v1::ExportSessionResponse&)>;

  /// Puts the next piece of a blob into its argument; false at the end.
  using BlobReader = std::function<bool(std::string&)>;

  /// `address` is HOST:PORT; credentials.h makes `credentials`, by default those of plain text.
  /// Every call brings the bearer token, unless it is empty.
  explicit Client(const std::string& address,
                  const std::shared_ptr<grpc::ChannelCredentials>& credentials =
                      grpc::InsecureChannelCredentials(),
                  const std::string& token = "");

  /// These return when the stream has ended.
  absl::Status Generate(grpc::ClientContext& context, const v1::GenerateRequest& request,
                        const GenerateHandler& handler);
  absl::Status Chat(grpc::ClientContext& context, const v1::ChatRequest& request,
                    const GenerateHandler& handler);
  absl::Status Score(grpc::ClientContext& context, const v1::ScoreRequest& request,
                     const ScoreHandler& handler);
  absl::Status Embed(grpc::ClientContext& context, const v1::EmbedRequest& request,
                     const EmbedHandler& handler);
  absl::Status FillMask(grpc::ClientContext& context, const v1::FillMaskRequest& request,
                        const FillMaskHandler& handler);

  absl::StatusOr<v1::TokenizeResponse> Tokenize(grpc::ClientContext& context,
                                                const v1::TokenizeRequest& request);
  absl::StatusOr<v1::DetokenizeResponse> Detokenize(grpc::ClientContext& context,
                                                    const v1::DetokenizeRequest& request);
  absl::StatusOr<v1::Model> GetModel(grpc::ClientContext& context,
                                     const v1::GetModelRequest& request);
  absl::StatusOr<v1::ListModelsResponse> ListModels(grpc::ClientContext& context);

  /// These two need an administrator's token, and take as long as loading and draining take.
  absl::StatusOr<v1::Model> LoadModel(grpc::ClientContext& context,
                                      const v1::LoadModelRequest& request);
  absl::Status UnloadModel(grpc::ClientContext& context, const v1::UnloadModelRequest& request);

  /// Whether the server takes requests: not while it drains.
  absl::StatusOr<bool> IsServing(grpc::ClientContext& context);

  absl::StatusOr<v1::Session> CreateSession(grpc::ClientContext& context,
                                            const v1::CreateSessionRequest& request);
  absl::StatusOr<v1::Session> GetSession(grpc::ClientContext& context,
                                         const v1::GetSessionRequest& request);
  absl::StatusOr<v1::ListSessionsResponse> ListSessions(grpc::ClientContext& context,
                                                        const v1::ListSessionsRequest& request);
  absl::StatusOr<v1::Session> UpdateSession(grpc::ClientContext& context,
                                            const v1::UpdateSessionRequest& request);
  absl::StatusOr<v1::ForkSessionResponse> ForkSession(grpc::ClientContext& context,
                                                      const v1::ForkSessionRequest& request);
  absl::StatusOr<v1::Session> RewindSession(grpc::ClientContext& context,
                                            const v1::RewindSessionRequest& request);
  absl::Status DeleteSession(grpc::ClientContext& context, const v1::DeleteSessionRequest& request);

  /// Returns when the whole blob has gone to `handler`.
  absl::Status ExportSession(grpc::ClientContext& context, const v1::ExportSessionRequest& request,
                             const ExportHandler& handler);
  /// Reads until the blob's end, or until the server refuses it.
  absl::StatusOr<v1::Session> ImportSession(grpc::ClientContext& context,
                                            const v1::CreateSessionRequest& session,
                                            const BlobReader& blob);

 private:
  /// How a call ended; a server that was not reached may be the proxy's fault.
  absl::Status Outcome(const grpc::Status& status) const;
  template <class Response>
  absl::StatusOr<Response> Answer(const grpc::Status& status, Response& response) const;
  template <class Response, class Handler>
  absl::Status ReadAll(grpc::ClientReader<Response>& reader, const Handler& handler) const;

  std::string proxy_hint_;  // of failed calls; empty: no proxy
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Generation::Stub> generation_;
  std::unique_ptr<v1::Encoders::Stub> encoders_;
  std::unique_ptr<v1::Sessions::Stub> sessions_;
  std::unique_ptr<v1::Admin::Stub> admin_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

}  // namespace fmaserver::client
