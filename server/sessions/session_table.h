// The sessions that a server knows, in memory: who may use them, and what they hold.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "server/sessions/claim.h"
#include "server/sessions/session_memory.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// Bytes that somebody is about to hold, which count until it is destroyed. Movable.
class Reservation {
 public:
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation();

 private:
  friend class SessionTable;
  Reservation(SessionTable& table, int64_t bytes) : table_(&table), bytes_(bytes) {}

  SessionTable* table_;
  int64_t bytes_;
};

/// Thread-safe. Holds its mutex for moments only, and calls nobody meanwhile but the clock: a call
/// returns at once, except where it says that it waits for a claim to end.
class SessionTable {
 public:
  /// `memory_bytes` is the budget for states and logs (SessionMemory).
  SessionTable(int64_t memory_bytes, Now now) : now_(std::move(now)), memory_(memory_bytes) {}
  SessionTable(const SessionTable&) = delete;
  SessionTable& operator=(const SessionTable&) = delete;

  /// To read when a turn is live, else to change.
  using AnyClaim = std::variant<ReadClaim, ChangeClaim>;

  /// Claims a name, whether there is such a session or not. Waits while others change it and,
  /// unless a turn is live, while they read it.
  AnyClaim Take(const SessionName& name);

  /// Other claims in exchange, without a moment in between.
  ReadClaim ToRead(ChangeClaim claim);
  TurnClaim ToTurn(ChangeClaim claim);
  /// Ends the live turn, and waits for readers.
  ChangeClaim ToChange(TurnClaim claim);

  /// Ends a use of the session, and says what it is then.
  SessionInfo End(ChangeClaim claim);

  bool Exists(const Claim& claim) const;
  /// Whether the session may go: unpinned and unused for its time to live.
  bool IsExpired(const ChangeClaim& claim) const;
  Holding HoldingOf(const Claim& claim) const;
  SessionInfo InfoOf(const Claim& claim) const;

  /// Bytes of parts of the session, or null where they are not in memory.
  std::vector<engine::SnapshotPtr> BytesOf(const Claim& claim,
                                           const std::vector<PartPtr>& parts) const;

  /// Puts bytes into memory that were read from the shelf.
  void Attach(const Claim& claim, const PartPtr& part, engine::SnapshotPtr bytes);
  void Attach(const Claim& claim, std::shared_ptr<Tail> tail);

  /// Gives the session other contents; it exists from then on.
  void Set(const ChangeClaim& claim, Holding holding);
  /// It exists no more.
  void Erase(const ChangeClaim& claim);

  /// Whether what is held fits into the budget, after parked sessions have given memory back.
  bool Fits();
  /// Empty when `bytes` more do not fit.
  std::optional<Reservation> Reserve(int64_t bytes);

  int64_t count() const;
  int64_t CountOf(const std::string& tenant) const;
  /// Ids of the tenant's sessions from `from` on, ascending.
  std::vector<std::string> Ids(const std::string& tenant, const std::string& from) const;
  /// Of one tenant, or of all where it is empty.
  std::vector<SessionName> Expired(const std::string& tenant) const;
  SessionStats Stats() const;

 private:
  friend class Claim;
  friend class Reservation;

  void Release(Session& session, Claim::Kind kind);
  void Settle(Session& session);
  void CountExisting(const Session& session, int64_t change);
  bool HasExpired(const Session& session) const;
  SessionInfo Describe(const Session& session) const;
  void Unreserve(int64_t bytes);

  const Now now_;
  mutable std::mutex mutex_;
  std::condition_variable released_;  // a claim has ended
  std::map<SessionName, SessionPtr> sessions_;
  std::map<std::string, int64_t> tenants_;  // how many of their sessions exist
  int64_t existing_ = 0;
  SessionMemory memory_;
};

}  // namespace fmaserver::sessions
