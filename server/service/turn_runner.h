// A Generate call's share in a session: how the session's tokens and the request's become one
// engine request, and what the session gets back.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/request.h"
#include "server/models/served_model.h"
#include "server/service/call.h"
#include "server/service/generate_event.h"
#include "server/service/generate_request.h"
#include "server/sessions/session_store.h"

namespace fmaserver::service {

/// Owns the session's turn; destroyed before Commit or Interrupt it leaves the session as it was,
/// or removes one that began with it. One thread at a time. All but AddPoint may block on the disk,
/// the destructor too.
class TurnRunner {
 public:
  ~TurnRunner();
  TurnRunner(const TurnRunner&) = delete;
  TurnRunner& operator=(const TurnRunner&) = delete;

  /// Starts a turn of `session` of `model`, which is there also when `ends.first`. `request` is
  /// what ForEngine made of the caller's request, and `record` is EncodeTurn of it.
  /// `brings_tokens`: the request has a prompt, or AddPrompt will follow. Errors of
  /// SessionStore::BeginTurn.
  static absl::StatusOr<std::unique_ptr<TurnRunner>> Begin(const models::ModelPtr& model,
                                                           const sessions::SessionName& session,
                                                           engine::GenerateRequest request,
                                                           std::string record, bool brings_tokens,
                                                           SessionEnds ends);

  /// Starts a turn of `tenant` that is a branch. NOT_FOUND also for a parent without a note; errors
  /// of SessionStore::BeginBranch, and of SessionCalls for one session more.
  static absl::StatusOr<std::unique_ptr<TurnRunner>> Branch(const models::ModelPtr& model,
                                                            const Call& call,
                                                            const service::Branch& branch,
                                                            engine::GenerateRequest request);

  /// Takes up the interrupted turn that `resume_token` names. Errors of SessionStore::BeginResume
  /// and ForEngine; FAILED_PRECONDITION for a turn that an earlier release stored.
  static absl::StatusOr<std::unique_ptr<TurnRunner>> Resume(const models::ModelPtr& model,
                                                            const std::string& tenant,
                                                            const std::string& resume_token,
                                                            const Vocabulary& vocabulary,
                                                            const RequestLimits& limits);

  /// Whether the session's state had to be read from the store.
  bool from_store() const { return turn_->from_shelf(); }

  /// What the session held before the turn.
  Before before() const;

  /// Tokens that the caller sent, behind those of the request.
  void AddPrompt(const std::vector<int32_t>& tokens);

  /// The engine's request. Call it once.
  engine::GenerateRequest TakeRequest() { return std::move(request_); }

  void AddPoint(engine::State state) { turn_->AddPoint(Parked(std::move(state))); }

  /// Of an engine's usage: the tokens before the answer, and how many of them were not read.
  int64_t input_tokens() const;
  int64_t cached_tokens(const engine::Usage& usage) const;

  /// The turn is over and the session holds it, with `note`.
  absl::StatusOr<SessionAfter> Commit(engine::Kept kept, std::string note = {});

  /// The server ends before the turn does. Returns the resume token; the session stays.
  absl::StatusOr<std::string> Interrupt(engine::Kept kept, uint64_t seed);

 private:
  TurnRunner(models::ModelPtr model, std::unique_ptr<sessions::Turn> turn,
             engine::GenerateRequest request, std::string record);

  /// The state as the session keeps it between turns.
  engine::State Parked(engine::State state) const;
  std::vector<int32_t> Appended(const std::vector<int32_t>& generated) const;

  const models::ModelPtr model_;  // whose store the turn is of
  std::unique_ptr<sessions::Turn> turn_;
  engine::GenerateRequest request_;
  const std::string record_;
  std::vector<int32_t> prompt_;  // tokens that the call brings
  size_t resumed_ = 0;           // generated tokens that the session holds already
  sessions::SessionName session_;
  bool remove_ = false;       // the session, at the end
  bool remove_last_ = false;  // the same once the turn is committed
};

}  // namespace fmaserver::service
