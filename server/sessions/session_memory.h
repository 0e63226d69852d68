// The memory that sessions take, and which of them give some back when it is short.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "absl/functional/function_ref.h"
#include "server/sessions/session.h"

namespace fmaserver::sessions {

/// Where the session's newest state and its log are: the one definition, for calls and metrics.
SessionPlace PlaceOf(const Session& session);

/// Counts the bytes of slots and logs once each, however many sessions share them, and where the
/// sessions are. Over the budget, parked sessions give memory back, least recently used first:
/// those that the shelf has leave memory, the others lose their rewind points.
///
/// Not thread-safe: the table's mutex guards it and everything that its sessions hold. The time of
/// a call depends only on the sessions that it is given, except for Free, which goes through parked
/// sessions until there is room.
class SessionMemory {
 public:
  explicit SessionMemory(int64_t budget_bytes) : budget_(budget_bytes) {}

  /// Replaces what the session holds. The session exists from then on. Parts that another session
  /// holds under the same id become one.
  void Set(Session& session, Holding holding);

  /// From now on the session holds nothing and does not exist.
  void Clear(Session& session);

  /// Puts bytes that were read from the shelf into memory.
  void Attach(Part& part, PartBytes bytes);
  void Attach(Session& session, std::shared_ptr<Tail> tail);

  /// Says whether a turn of the session is live.
  void SetTurn(Session& session, bool live);

  /// Makes the session, and what it holds, the last to leave memory.
  void Use(Session& session);

  /// Park: memory may be taken from the session. Unpark: it may not.
  void Park(Session& session);
  void Unpark(Session& session);

  /// Whether `bytes` more fit into the budget, after parked sessions have given memory back.
  bool Free(int64_t bytes);

  /// Lets durable parked sessions that have archives in memory leave it, the least recently used
  /// first and those of one tenant only unless `tenant` is empty, until `enough`, which is asked
  /// after each, says true.
  void DropArchives(const std::string& tenant, absl::FunctionRef<bool()> enough);

  /// Counts bytes that somebody is about to hold; negative to give them up.
  void Reserve(int64_t bytes) { reserved_bytes_ += bytes; }

  const SessionStats& stats() const { return stats_; }

 private:
  /// Counts what the contents hold, or stops counting it; of the chunks those from `first` on.
  void Count(SessionContents& contents, bool durable, size_t first);
  void Discount(const SessionContents& contents, bool durable, size_t first);
  void CountChunks(ChunkList& chunks, bool durable, size_t first);
  void CountPart(PartPtr& part, bool durable);
  void DiscountPart(const PartPtr& part, bool durable);
  void Detach(Part& part);
  /// Counts the session at its place (`change` = 1), or stops counting it there (-1).
  void CountPlace(const Session& session, int64_t change);
  int64_t& CountOf(SessionPlace place);
  void LeaveMemory(Session& session);
  void DropRewindPoints(Session& session);

  /// Compares everything that a record says of a part, so that a record with a false id shares
  /// nothing.
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
