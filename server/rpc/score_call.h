// One Score call: the engine's sink on one side, the client's stream on the other.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "fma/v1/generation.pb.h"
#include "server/engine/request.h"
#include "server/rpc/services.h"
#include "server/rpc/stream_call.h"

namespace fmaserver::rpc {

/// See StreamCall for ownership and threads.
class ScoreCall final : public StreamCall<v1::ScoreResponse>, public engine::ScoreSink {
 public:
  /// Parses `request`, submits it and returns the reactor, which frees itself.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(const Services& services,
                                                           std::shared_ptr<Call> call,
                                                           const grpc::ByteBuffer& request);

  bool HasRoom() const override { return KeepsUp(); }
  /// The scores themselves tell how far it is.
  void OnPromptProgress(int64_t, int64_t) override {}
  void OnScores(std::vector<engine::TokenScore> scores) override;
  void OnFinish(const engine::Usage& usage) override;
  void OnError(const absl::Status& status) override;

 private:
  ScoreCall(engine::Engine& engine, std::shared_ptr<Call> call)
      : StreamCall(engine), call_(std::move(call)) {}

  void OnStatus(const absl::Status& status) override { call_->SetStatus(status); }

  bool Merge(v1::ScoreResponse& last, const v1::ScoreResponse& next) override;

  const std::shared_ptr<Call> call_;
  // Engine thread only.
  int64_t scored_tokens_ = 0;
  double total_logprob_ = 0;
};

}  // namespace fmaserver::rpc
