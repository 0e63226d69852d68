#include "server/sessions/session_table.h"

#include <utility>

namespace fmaserver::sessions {

int64_t SessionTable::BytesOf(const Tail& tail) {
  return static_cast<int64_t>(tail.log.size() * sizeof(int32_t) + tail.request.size());
}

SessionPtr SessionTable::Find(const SessionName& name) const {
  const auto found = sessions_.find(name);
  return found == sessions_.end() ? nullptr : found->second;
}

SessionPtr SessionTable::Insert(SessionName name, SessionVersion version) {
  auto session = std::make_shared<Session>(std::move(name));
  sessions_.emplace(session->name, session);
  Set(*session, std::move(version));
  Touch(*session);
  return session;
}

void SessionTable::Erase(Session& session) {
  if (session.gone) return;
  Discount(session.contents, session.durable);
  LeaveQueue(session);
  session.gone = true;
  sessions_.erase(session.name);
}

void SessionTable::Set(Session& session, SessionVersion version) {
  Intern(version.contents);
  // First the new, so that what both hold does not leave the counts in between.
  Count(version.contents, version.durable);
  Discount(session.contents, session.durable);
  session.contents = std::move(version.contents);
  session.durable = version.durable;
  session.stamp = version.stamp;
  session.saved_points = std::move(version.saved_points);
}

void SessionTable::Intern(SessionContents& contents) {
  for (PointPtr& point : contents.points) {
    const auto known = points_.find(point->id);
    if (known != points_.end()) point = known->second;
  }
}

void SessionTable::Count(const SessionContents& contents, bool durable) {
  for (const PointPtr& point : contents.points) {
    if (point->sessions++ == 0) {
      points_.emplace(point->id, point);
      memory_bytes_ += BytesOf(*point);
    }
    if (durable && point->durable_sessions++ == 0) disk_bytes_ += slot_bytes_;
  }
  Tail* tail = contents.tail.get();
  if (tail != nullptr && tail->sessions++ == 0) memory_bytes_ += BytesOf(*tail);
}

void SessionTable::Discount(const SessionContents& contents, bool durable) {
  for (const PointPtr& point : contents.points) {
    if (durable && --point->durable_sessions == 0) disk_bytes_ -= slot_bytes_;
    if (--point->sessions == 0) {
      points_.erase(point->id);
      memory_bytes_ -= BytesOf(*point);
    }
  }
  Tail* tail = contents.tail.get();
  if (tail != nullptr && --tail->sessions == 0) memory_bytes_ -= BytesOf(*tail);
}

void SessionTable::Attach(Point& point, engine::SnapshotPtr snapshot) {
  if (point.snapshot != nullptr) return;
  point.snapshot = std::move(snapshot);
  if (point.sessions > 0) memory_bytes_ += BytesOf(point);
}

void SessionTable::Attach(Session& session, std::shared_ptr<Tail> tail) {
  if (session.contents.tail != nullptr) return;
  session.contents.tail = std::move(tail);
  if (session.gone) return;
  if (session.contents.tail->sessions++ == 0) memory_bytes_ += BytesOf(*session.contents.tail);
}

void SessionTable::SetUse(Session& session, Session::Use use) {
  session.use = use;
  if (session.gone) return;
  if (use == Session::Use::kIdle) {
    Touch(session);
  } else {
    LeaveQueue(session);
  }
}

void SessionTable::Touch(Session& session) {
  session.last_used = std::chrono::steady_clock::now();
  session.used_tick = ++tick_;
  for (const PointPtr& point : session.contents.points) point->used_tick = tick_;
  LeaveQueue(session);
  session.lru_place = lru_.insert(lru_.end(), &session);
}

void SessionTable::LeaveQueue(Session& session) {
  if (session.lru_place.has_value()) lru_.erase(*session.lru_place);
  session.lru_place.reset();
}

bool SessionTable::MakeRoom(int64_t bytes) {
  const int64_t goal = budget_ - reserved_bytes_ - bytes;
  while (memory_bytes_ > goal && !lru_.empty()) {
    Session& oldest = *lru_.front();
    LeaveQueue(oldest);
    Shrink(oldest);
  }
  return memory_bytes_ <= goal;
}

void SessionTable::Shrink(Session& session) {
  if (session.durable) {
    LeaveMemory(session);
  } else {
    DropRewindPoints(session);
  }
}

void SessionTable::LeaveMemory(Session& session) {
  for (const PointPtr& point : session.contents.points) {
    // Not what a session that was used since shares, nor what is nowhere else.
    if (point->used_tick > session.used_tick) continue;
    if (point->durable_sessions < point->sessions) continue;
    memory_bytes_ -= BytesOf(*point);
    point->snapshot = nullptr;
  }
  const std::shared_ptr<Tail> tail = std::exchange(session.contents.tail, nullptr);
  if (tail != nullptr && --tail->sessions == 0) memory_bytes_ -= BytesOf(*tail);
}

void SessionTable::DropRewindPoints(Session& session) {
  if (session.contents.points.size() <= 1) return;
  SessionVersion version{.contents = session.contents,
                         .durable = session.durable,
                         .stamp = session.stamp,
                         .saved_points = session.saved_points};
  std::vector<PointPtr>& points = version.contents.points;
  points.erase(points.begin(), points.end() - 1);
  Set(session, std::move(version));
}

SessionStats SessionTable::Stats() const {
  SessionStats stats{.memory_bytes = memory_bytes_, .disk_bytes = disk_bytes_};
  for (const auto& [name, session] : sessions_) {
    const SessionContents& contents = session->contents;
    const bool in_memory = contents.points.empty() ? contents.tail != nullptr
                                                   : contents.points.back()->snapshot != nullptr;
    if (session->use == Session::Use::kTurn) {
      ++stats.active;
    } else if (in_memory) {
      ++stats.in_memory;
    } else {
      ++stats.on_disk;
    }
  }
  return stats;
}

}  // namespace fmaserver::sessions
