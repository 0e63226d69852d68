// The sessions that a server knows, and the memory that they take.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/sessions/directory_files.h"
#include "server/sessions/session_contents.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// One session of the table. Guarded by the store's mutex.
struct Session {
  enum class Use : uint8_t {
    kIdle,
    kTurn,      ///< a turn is live: others must not change it
    kChanging,  ///< for a moment: others wait
  };

  explicit Session(SessionName session_name) : name(std::move(session_name)) {}

  const SessionName name;
  SessionContents contents;
  bool durable = false;                ///< the directory holds just these contents
  std::optional<FileStamp> stamp;      ///< of its record; absent: it has none
  std::vector<PointPtr> saved_points;  ///< that the record lists
  Use use = Use::kIdle;
  bool gone = false;  ///< no longer in the table
  std::chrono::steady_clock::time_point last_used;

  // The table's own.
  uint64_t used_tick = 0;
  std::optional<std::list<Session*>::iterator> lru_place;
};

using SessionPtr = std::shared_ptr<Session>;

/// Contents of a session as the directory has them, or not.
struct SessionVersion {
  SessionContents contents = {};
  bool durable = false;
  std::optional<FileStamp> stamp = {};
  std::vector<PointPtr> saved_points = {};
};

/// Not thread-safe: the store's mutex guards it and all that its sessions hold. Counts the bytes of
/// states and tails once each, however many sessions share them.
class SessionTable {
 public:
  SessionTable(int64_t memory_bytes, int64_t slot_bytes)
      : budget_(memory_bytes), slot_bytes_(slot_bytes) {}

  /// Null when there is none.
  SessionPtr Find(const SessionName& name) const;

  SessionPtr Insert(SessionName name, SessionVersion version);
  /// The caller holds a SessionPtr of it.
  void Erase(Session& session);

  /// Replaces what the session holds.
  void Set(Session& session, SessionVersion version);

  /// Puts bytes into memory that were read from disk.
  void Attach(Point& point, engine::SnapshotPtr snapshot);
  void Attach(Session& session, std::shared_ptr<Tail> tail);

  /// Begins or ends a use. One that ends makes the session the last to leave memory; while it lasts
  /// nothing leaves.
  void SetUse(Session& session, Session::Use use);

  /// Whether `bytes` more fit into the budget, after others have left memory for them.
  bool MakeRoom(int64_t bytes);

  /// Bytes that are about to be held, by an import.
  void Reserve(int64_t bytes) { reserved_bytes_ += bytes; }
  void Release(int64_t bytes) { reserved_bytes_ -= bytes; }

  const std::map<SessionName, SessionPtr>& sessions() const { return sessions_; }

  SessionStats Stats() const;

 private:
  int64_t BytesOf(const Point& point) const { return point.snapshot == nullptr ? 0 : slot_bytes_; }
  static int64_t BytesOf(const Tail& tail);

  /// Replaces points by the known ones of the same id.
  void Intern(SessionContents& contents);
  void Count(const SessionContents& contents, bool durable);
  void Discount(const SessionContents& contents, bool durable);
  void Touch(Session& session);
  void LeaveQueue(Session& session);
  void Shrink(Session& session);
  void LeaveMemory(Session& session);
  void DropRewindPoints(Session& session);

  const int64_t budget_;
  const int64_t slot_bytes_;
  std::map<SessionName, SessionPtr> sessions_;
  std::map<std::string, PointPtr> points_;  // of all sessions, by id
  std::list<Session*> lru_;                 // that memory may be taken from, oldest use first
  uint64_t tick_ = 0;
  int64_t memory_bytes_ = 0;
  int64_t reserved_bytes_ = 0;
  int64_t disk_bytes_ = 0;
};

}  // namespace fmaserver::sessions
