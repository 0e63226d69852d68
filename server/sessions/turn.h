// One turn of a session: the tokens that a Generate call adds to it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/archive.h"
#include "server/sessions/claim.h"
#include "server/sessions/session_contents.h"
#include "server/sessions/session_reader.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

struct ResumedTurn;
struct StoreCore;

/// Made by SessionStore::BeginTurn, BeginBranch or BeginResume; the store outlives it. While it
/// lives, the session is kActive, or not yet there. If it is destroyed without Commit or Interrupt,
/// the session stays as it was. Used by one thread at a time. Commit and Interrupt wait for the
/// shelf and for readers of the session; all other calls and the destructor return at once,
/// whatever the shelf does.
class Turn {
 public:
  /// Tokens before the prompt that history() and pending() hold together, if the log has them.
  static constexpr int64_t kHistoryTokens = 4096;

  static absl::StatusOr<std::unique_ptr<Turn>> Begin(StoreCore& core, const SessionName& name,
                                                     int64_t min_pending, bool with_archive);
  static absl::StatusOr<std::unique_ptr<Turn>> Branch(StoreCore& core, const SessionName& child,
                                                      const std::string& parent, bool with_archive);
  static absl::StatusOr<ResumedTurn> Resume(StoreCore& core, const std::string& tenant,
                                            const std::string& resume_token);
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  /// The state to start from; without a slot it means an empty sequence.
  const engine::State& state() const { return state_; }
  /// Whether the shelf was read for it, because it was not in memory.
  bool from_shelf() const { return from_shelf_; }

  /// Tokens of the session after state(), to be read before the new ones. Usually exactly one.
  const std::vector<int32_t>& pending() const { return pending_; }

  /// Tokens right before pending(), for the repetition penalty: history() and pending() together
  /// are the last kHistoryTokens of the session, or all of pending(). In a resumed turn they begin
  /// kHistoryTokens before the turn itself.
  const std::vector<int32_t>& history() const { return history_; }

  /// All tokens before pending() that the log has: those right before it.
  std::vector<int32_t> Log() const;

  /// Tokens that the session holds.
  int64_t tokens() const { return before_.tokens; }

  /// What the turn before left with the session.
  const std::string& note() const { return before_.tail->note; }

  /// Adds a state inside the turn, to rewind to later. Token counts must ascend; points are thinned
  /// when there are too many. A branch has none.
  void AddPoint(engine::State state);

  /// Ends the turn: appends `appended` (the new prompt and all tokens chosen) to the session;
  /// `head` is a state that has read a part of them, or has no slot when no token was read. `note`,
  /// of up to kMaxNoteBytes, stays with the session until the next turn or rewind. ABORTED when
  /// another server has changed the session since; INVALID_ARGUMENT for a state or note that does
  /// not fit. Otherwise the turn is kept, and SessionInfo.durable is false when the shelf failed.
  absl::StatusOr<SessionInfo> Commit(const std::vector<int32_t>& appended, engine::State head,
                                     std::string note = {});

  /// Commits what there is so far and stores `record`. Returns the token for BeginResume: it holds
  /// the session's id and 128 random bits. Not of a branch.
  absl::StatusOr<std::string> Interrupt(const std::vector<int32_t>& appended, engine::State head,
                                        InterruptedTurn record);

 private:
  /// What a turn starts from.
  struct Beginning {
    SessionContents contents;
    LoadedState state;
  };
  /// What it leaves besides tokens.
  struct Left {
    std::optional<Interruption> interruption = {};
    std::string request = {};
    std::string note = {};
  };

  Turn(StoreCore& core, std::optional<TurnClaim> claim, Beginning beginning, int64_t first_token);

  static absl::StatusOr<Beginning> Load(StoreCore& core, const Claim& claim, int64_t min_pending,
                                        bool with_archive);

  static absl::StatusOr<std::unique_ptr<Turn>> Start(StoreCore& core, ChangeClaim found,
                                                     int64_t min_pending, bool with_archive,
                                                     bool resume);
  void Push(engine::State state, bool turn_end);
  absl::Status CheckState(const engine::State& state) const;
  /// Puts the bytes that the turn began with into memory, where contents of its own need them.
  void AttachState(const Claim& child, const SessionContents& contents);
  /// Makes the child of a branch.
  absl::StatusOr<SessionInfo> Make(ChangeClaim child, const SessionContents& contents);
  absl::StatusOr<SessionContents> After(const std::vector<int32_t>& appended, engine::State head,
                                        Left left);
  absl::StatusOr<SessionInfo> Finish(const std::vector<int32_t>& appended, engine::State head,
                                     Left left);

  StoreCore& core_;
  std::optional<TurnClaim> claim_;     // absent once the turn is over, or if it cannot be committed
  std::optional<SessionName> parent_;  // of a branch; without an id: it has none
  const SessionContents before_;
  const int64_t first_token_;  // where the turn began; for a resumed turn, before the interruption
  const bool from_shelf_;
  const engine::State state_;
  std::vector<int32_t> pending_;
  std::vector<int32_t> history_;
  std::vector<Point> points_;    // before_.points and those added
  std::vector<PartPtr> chunks_;  // of points_, at least
  absl::Status status_;          // the first error among added points
};

/// An interrupted turn that is taken up again.
struct ResumedTurn {
  std::unique_ptr<Turn> turn = {};
  InterruptedTurn record;
  std::vector<int32_t> generated = {};  ///< its record.generated tokens; they may overlap pending()
};

}  // namespace fmaserver::sessions
