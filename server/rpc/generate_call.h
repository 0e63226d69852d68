// One Generate call: the engine's sink on one side, the client's stream on the other.
#pragma once

#include <cstdint>

#include "fma/v1/generation.pb.h"
#include "server/engine/request.h"
#include "server/rpc/stream_call.h"

namespace fmaserver {

/// See StreamCall for ownership and threads.
class GenerateCall final : public StreamCall<v1::GenerateResponse>, public GenerateSink {
 public:
  /// Parses `request`, submits it and returns the reactor, which frees itself.
  static grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(Engine& engine,
                                                           const grpc::ByteBuffer& request);

  bool HasRoom() const override { return KeepsUp(); }
  void OnPromptProgress(int64_t processed_tokens, int64_t total_tokens) override;
  void OnPrompt(std::vector<TokenScore> tokens) override;
  void OnDelta(Delta delta) override;
  void OnFinish(Finished finish) override;
  void OnError(const absl::Status& status) override;

 private:
  GenerateCall(Engine& engine, int32_t samples) : StreamCall(engine), unfinished_(samples) {}

  bool Merge(v1::GenerateResponse& last, const v1::GenerateResponse& next) override;

  // Engine thread only.
  bool progress_sent_ = false;
  int32_t unfinished_;  // samples
};

}  // namespace fmaserver
