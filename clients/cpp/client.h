// A C++ client of the Generation service: calls in, absl::Status and messages out.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fma/v1/generation.grpc.pb.h"

namespace fmaserver {

/// Thread-safe. Connects at the first call, and again when the connection breaks.
///
/// Every call takes a fresh grpc::ClientContext of the caller, which sets its deadline and metadata
/// and whose TryCancel() ends it from another thread. Errors keep the server's code and message;
/// UNAVAILABLE also means that there is no server at the address.
class Client {
 public:
  /// Receives a stream's messages in order, on the calling thread.
  using GenerateHandler = std::function<void(const v1::GenerateResponse&)>;
  using ScoreHandler = std::function<void(const v1::ScoreResponse&)>;

  /// `address` is HOST:PORT of a server without TLS.
  explicit Client(const std::string& address);

  /// Both return when the stream has ended.
  absl::Status Generate(grpc::ClientContext& context, const v1::GenerateRequest& request,
                        const GenerateHandler& handler);
  absl::Status Score(grpc::ClientContext& context, const v1::ScoreRequest& request,
                     const ScoreHandler& handler);

  absl::StatusOr<v1::TokenizeResponse> Tokenize(grpc::ClientContext& context,
                                                const v1::TokenizeRequest& request);
  absl::StatusOr<v1::DetokenizeResponse> Detokenize(grpc::ClientContext& context,
                                                    const v1::DetokenizeRequest& request);
  absl::StatusOr<v1::Model> GetModel(grpc::ClientContext& context);

 private:
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Generation::Stub> stub_;
};

}  // namespace fmaserver
