// One Score call: from what a door parsed to the engine, and back as events.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/request.h"
#include "server/service/generate_request.h"
#include "server/service/score_event.h"
#include "server/service/streaming_call.h"

namespace fmaserver::service {

/// See StreamingCall for ownership and threads.
class Scoring final : public StreamingCall<ScoreEvent>,
                      public engine::ScoreSink,
                      public std::enable_shared_from_this<Scoring> {
 public:
  using Parse = std::function<absl::StatusOr<ScoreRequest>()>;

  /// Like Generation::Start.
  static std::shared_ptr<Scoring> Start(Service& service,
                                        const absl::StatusOr<models::ModelPtr>& model,
                                        std::shared_ptr<Call> call, std::shared_ptr<Wire> wire,
                                        size_t bytes, Parse parse);

  bool KeepsUp() const override { return ReaderKeepsUp(); }
  /// The scores themselves show the progress.
  void OnPromptProgress(const engine::PromptProgress& /*progress*/) override {}
  void OnScores(std::vector<engine::TokenScore> scores) override;
  void OnFinish(const engine::Usage& usage) override;
  void OnError(const absl::Status& status, const engine::Usage& usage) override {
    call().SetUsage(usage);
    Close(status);
  }

 private:
  Scoring(Service& service, std::shared_ptr<Call> call, std::shared_ptr<Wire> wire)
      : StreamingCall(service, std::move(call), std::move(wire)) {}

  void Run(const models::ModelPtr& model, absl::StatusOr<ScoreRequest> request);
  void Submit(const models::ModelPtr& model, engine::ScoreRequest request);

  // The engine's thread only.
  int64_t scored_tokens_ = 0;
  double total_logprob_ = 0;
};

}  // namespace fmaserver::service
