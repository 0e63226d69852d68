// The sessions that are known, in memory: who may use them, and what they hold.
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

/// Bytes that somebody is about to hold; they are counted until the reservation is destroyed.
/// Movable.
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

/// Thread-safe. It holds its mutex for moments only and calls nothing but the clock meanwhile, so
/// calls return at once, except for those that say that they wait for a claim to end.
class SessionTable {
 public:
  /// `memory_bytes` is the budget for states and logs (SessionMemory).
  SessionTable(int64_t memory_bytes, Now now) : now_(std::move(now)), memory_(memory_bytes) {}
  SessionTable(const SessionTable&) = delete;
  SessionTable& operator=(const SessionTable&) = delete;

  /// A claim to read when a turn is live, else a claim to change.
  using AnyClaim = std::variant<ReadClaim, ChangeClaim>;

  /// Claims a name, whether or not there is such a session. Waits while others change it and,
  /// unless a turn is live, while they read it.
  AnyClaim Take(const SessionName& name);

  /// Exchanges a claim for one of another kind; nobody can come in between.
  ReadClaim ToRead(ChangeClaim claim);
  TurnClaim ToTurn(ChangeClaim claim);
  /// Ends the live turn, and waits for readers.
  ChangeClaim ToChange(TurnClaim claim);

  /// Ends a use of the session and returns what the session is afterwards.
  SessionInfo End(ChangeClaim claim);

  bool Exists(const Claim& claim) const;
  /// Whether the session may be removed: it is not pinned, and was not used for its time to live.
  bool IsExpired(const ChangeClaim& claim) const;
  Holding HoldingOf(const Claim& claim) const;
  SessionInfo InfoOf(const Claim& claim) const;

  /// The bytes of these parts of the session; none for those that are not in memory.
  std::vector<PartBytes> BytesOf(const Claim& claim, const std::vector<PartPtr>& parts) const;

  /// Puts bytes that were read from the shelf into memory.
  void Attach(const Claim& claim, const PartPtr& part, PartBytes bytes);
  void Attach(const Claim& claim, std::shared_ptr<Tail> tail);

  /// Replaces the session's contents; the session exists from then on.
  void Set(const ChangeClaim& claim, Holding holding);
  /// From now on the session does not exist.
  void Erase(const ChangeClaim& claim);

  /// Whether everything held fits into the budget, after parked sessions have given memory back.
  bool Fits();
  /// SessionMemory::DropArchives; `enough` is called while the mutex is held.
  void DropArchives(const std::string& tenant, absl::FunctionRef<bool()> enough);
  /// Counts `bytes` more; nothing when they do not fit into the budget.
  std::optional<Reservation> Reserve(int64_t bytes);

  int64_t count() const;
  int64_t CountOf(const std::string& tenant) const;
  /// Ids of the tenant's sessions from `from` on, ascending.
  std::vector<std::string> Ids(const std::string& tenant, const std::string& from) const;
  /// Expired sessions of one tenant, or of all when `tenant` is empty.
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
