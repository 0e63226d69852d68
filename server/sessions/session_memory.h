// The memory that sessions take, and who gives some back when it is short.
#pragma once

#include <cstdint>
#include <map>
#include <set>

#include "server/sessions/session.h"

namespace fmaserver::sessions {

/// Where the session's newest state and log are. The one definition for calls and metrics.
SessionPlace PlaceOf(const Session& session);

/// Counts the bytes of parts and logs once each, however many sessions share them, and where the
/// sessions are. Over the budget, sessions that are parked give memory back, least recently used
/// first: those that the shelf has leave memory, others lose their rewind points.
///
/// Not thread-safe: the table's mutex guards it and all that its sessions hold. Every call takes
/// a time that depends on the sessions named in it alone, but for Free, which takes as long as
/// there are sessions to take memory from.
class SessionMemory {
 public:
  explicit SessionMemory(int64_t budget_bytes) : budget_(budget_bytes) {}

  /// Replaces what the session holds, which exists from then on. Parts that another session holds
  /// under the same id become one.
  void Set(Session& session, Holding holding);

  /// The session holds nothing any more, and does not exist.
  void Clear(Session& session);

  /// Puts bytes into memory that were read from the shelf.
  void Attach(Part& part, engine::SnapshotPtr bytes);
  void Attach(Session& session, std::shared_ptr<Tail> tail);

  /// Whether a turn of the session is live.
  void SetTurn(Session& session, bool live);

  /// Makes the session, and what it holds, the last to leave memory.
  void Use(Session& session);

  /// Memory may be taken from the session, or may not.
  void Park(Session& session);
  void Unpark(Session& session);

  /// Whether `bytes` more fit into the budget, after parked sessions have given memory back.
  bool Free(int64_t bytes);

  /// Bytes that somebody is about to hold; negative when he gives them up.
  void Reserve(int64_t bytes) { reserved_bytes_ += bytes; }

  const SessionStats& stats() const { return stats_; }

 private:
  void Count(SessionContents& contents, bool durable);
  void Discount(const SessionContents& contents, bool durable);
  void CountPart(PartPtr& part, bool durable);
  void DiscountPart(const PartPtr& part, bool durable);
  void Detach(Part& part);
  /// Counts the session among those of its place, or takes it out of the count.
  void CountPlace(const Session& session, int64_t change);
  int64_t& CountOf(SessionPlace place);
  void LeaveMemory(Session& session);
  void DropRewindPoints(Session& session);

  /// By all that a record says of a part, so that one that lies about an id shares nothing.
  struct PartOrder {
    bool operator()(const PartPtr& a, const PartPtr& b) const;
  };

  const int64_t budget_;
  std::set<PartPtr, PartOrder> parts_;   // that sessions hold
  std::map<uint64_t, Session*> parked_;  // by used_tick
  uint64_t tick_ = 0;
  int64_t reserved_bytes_ = 0;
  SessionStats stats_;
};

}  // namespace fmaserver::sessions
