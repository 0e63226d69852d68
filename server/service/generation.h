// One Generate or Chat call: from what a door parsed to the engine, and back as events.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/request.h"
#include "server/service/generate_event.h"
#include "server/service/generate_request.h"
#include "server/service/streaming_call.h"
#include "server/service/turn_runner.h"

namespace fmaserver::service {

/// See StreamingCall for ownership and threads. A call with a session takes and ends its turn on a
/// thread for the disk.
class Generation final : public StreamingCall<GenerateEvent>,
                         public engine::GenerateSink,
                         public std::enable_shared_from_this<Generation> {
 public:
  using Parse = std::function<absl::StatusOr<GenerateRequest>()>;

  /// Answers `call` to `model`, or with the reason why there is none, on `wire`. A call that is
  /// refused is not even parsed; `parse` may run on
  /// another thread, as `bytes`, the size of what it parses, demands.
  static std::shared_ptr<Generation> Start(Service& service,
                                           const absl::StatusOr<models::ModelPtr>& model,
                                           std::shared_ptr<Call> call, std::shared_ptr<Wire> wire,
                                           size_t bytes, Parse parse);

  bool KeepsUp() const override { return ReaderKeepsUp(); }
  void OnPromptProgress(const engine::PromptProgress& progress) override;
  void OnPrompt(std::vector<engine::TokenScore> tokens) override;
  void OnDelta(engine::Delta delta) override;
  void OnState(engine::State state) override;
  void OnFinish(engine::Finished finish) override;
  void OnInterrupted(engine::Kept kept, uint64_t seed, const engine::Usage& usage) override;
  void OnError(const absl::Status& status, const engine::Usage& usage) override;

 private:
  Generation(Service& service, std::shared_ptr<Call> call, std::shared_ptr<Wire> wire)
      : StreamingCall(service, std::move(call), std::move(wire)) {}

  void Run(const models::ModelPtr& model, absl::StatusOr<GenerateRequest> request);
  void KeepPrompt(const Input& prompt);
  /// Submits a request without a session.
  void SubmitAlone(const models::ModelPtr& model, engine::GenerateRequest request);
  void Submit(const models::ModelPtr& model, engine::GenerateRequest request);
  /// Begins the turn on a thread for the disk and submits its request, with the tokens of
  /// `messages`. `begin` and `messages` hold `bytes` bytes.
  void StartTurn(const models::ModelPtr& model,
                 std::function<absl::StatusOr<std::unique_ptr<TurnRunner>>()> begin, int64_t bytes,
                 Conversation messages = {});
  /// The turn has begun, so what `messages` follow is known: they are read as other text is.
  void ReadMessages(const models::ModelPtr& model, Conversation messages);
  void SubmitTurn(const models::ModelPtr& model, absl::StatusOr<std::vector<int32_t>> prompt);
  absl::StatusOr<std::unique_ptr<TurnRunner>> BeginTurn(const models::ModelPtr& model,
                                                        const sessions::SessionName& session,
                                                        SessionEnds ends,
                                                        engine::GenerateRequest request,
                                                        std::string record, bool brings_tokens);
  /// Ends the turn.
  absl::StatusOr<SessionAfter> Save(TurnRunner& turn, engine::Kept kept, std::string note = {});
  void Collect(const engine::Delta& delta);
  void CommitTurn(engine::Finished finish);
  void CommitBranch(engine::Finished finish);
  void InterruptTurn(engine::Kept kept, uint64_t seed);

  /// Only in a call with a session. The worker that begins the turn, the engine, and the worker
  /// that ends it use it one after the other.
  std::unique_ptr<TurnRunner> turn_;
  std::optional<Branch> branch_;  // the turn is one; set before it begins

  // The engine's thread only.
  bool progress_sent_ = false;
  int32_t unfinished_ = 1;  // samples
  Answered answered_;       // of a branch, so far
};

}  // namespace fmaserver::service
