// One Generate call: the engine's sink on one side, the client's stream on the other.
#pragma once

#include <cstdint>

#include <memory>
#include <string>
#include <vector>

#include "fma/v1/generation.pb.h"
#include "server/engine/request.h"
#include "server/rpc/services.h"
#include "server/rpc/session_turn.h"
#include "server/rpc/stream_call.h"

namespace fmaserver::rpc {

/// See StreamCall for ownership and threads. A call with a session takes and ends its turn on a
/// worker's thread.
class GenerateCall final : public StreamCall<v1::GenerateResponse>,
                           public engine::GenerateSink,
                           public std::enable_shared_from_this<GenerateCall> {
 public:
  /// Parses `request`, submits it and returns the reactor, which frees itself.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(const Services& services,
                                                           std::shared_ptr<Call> call,
                                                           const grpc::ByteBuffer& request);

  bool HasRoom() const override { return KeepsUp(); }
  void OnPromptProgress(int64_t processed_tokens, int64_t total_tokens) override;
  void OnPrompt(std::vector<engine::TokenScore> tokens) override;
  void OnDelta(engine::Delta delta) override;
  void OnState(engine::SnapshotPtr state) override;
  void OnFinish(engine::Finished finish) override;
  void OnInterrupted(engine::Kept kept, uint64_t seed) override;
  void OnError(const absl::Status& status) override;

 private:
  GenerateCall(const Services& services, std::shared_ptr<Call> call)
      : StreamCall(services.engine), services_(services), call_(std::move(call)) {}

  void OnStatus(const absl::Status& status) override { call_->SetStatus(status); }
  void SubmitRequest(absl::StatusOr<engine::GenerateRequest> request);
  void BeginTurn(const v1::GenerateRequest& message);
  void CommitTurn(engine::Finished finish);
  void InterruptTurn(engine::Kept kept, uint64_t seed);
  bool Merge(v1::GenerateResponse& last, const v1::GenerateResponse& next) override;

  const Services services_;
  const std::shared_ptr<Call> call_;
  /// Of a call with a session. The worker that begins the turn, the engine and the worker that ends
  /// it use it one after the other.
  std::unique_ptr<SessionTurn> turn_;

  // Engine thread only.
  bool progress_sent_ = false;
  int32_t unfinished_ = 1;  // samples
};

}  // namespace fmaserver::rpc
