// A Generate call's share in a session: how the session's tokens and the request's become one
// engine request, and what the session gets back.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fma/v1/generation.pb.h"
#include "server/engine/request.h"
#include "server/rpc/from_wire.h"
#include "server/sessions/session_store.h"

namespace fmaserver::rpc {

/// Owns the session's turn; destroyed before Commit or Interrupt it leaves the session as it was.
/// One thread at a time. All but AddPoint may block on the disk.
class SessionTurn {
 public:
  /// Starts a turn of `message`.session_id, or takes up what `message`.resume_token names. Errors
  /// are those of FromWire, SessionStore::BeginTurn and BeginResume.
  static absl::StatusOr<std::unique_ptr<SessionTurn>> Begin(sessions::SessionStore& sessions,
                                                            const v1::GenerateRequest& message,
                                                            const std::string& tenant,
                                                            const Vocabulary& vocabulary);

  /// What the engine is to do. Call once.
  engine::GenerateRequest TakeRequest() { return std::move(request_); }

  void AddPoint(engine::SnapshotPtr state) { turn_->AddPoint(std::move(state)); }

  /// The turn is over and the session holds it.
  absl::StatusOr<v1::SessionTurn> Commit(engine::Kept kept);

  /// The server ends before the turn does. Returns the resume token.
  absl::StatusOr<std::string> Interrupt(engine::Kept kept, uint64_t seed);

 private:
  SessionTurn() = default;

  static absl::StatusOr<std::unique_ptr<SessionTurn>> New(sessions::SessionStore& sessions,
                                                          const v1::GenerateRequest& message,
                                                          const std::string& tenant,
                                                          const Vocabulary& vocabulary);
  static absl::StatusOr<std::unique_ptr<SessionTurn>> Resume(sessions::SessionStore& sessions,
                                                             const v1::GenerateRequest& message,
                                                             const std::string& tenant,
                                                             const Vocabulary& vocabulary);
  void Join();
  std::vector<int32_t> Appended(const std::vector<int32_t>& generated) const;

  std::unique_ptr<sessions::Turn> turn_;
  engine::GenerateRequest request_;
  std::string wire_request_;     // for the record of an interruption: without the prompt
  std::vector<int32_t> prompt_;  // tokens that the call brings
  size_t resumed_ = 0;           // generated tokens that the session holds already
};

}  // namespace fmaserver::rpc
