// What every call of the store is made of: finding, claiming, loading and saving sessions.
#include "server/sessions/session_store.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/memory/memory.h"
#include "base/sha256.h"
#include "base/text.h"
#include "server/sessions/session_name.h"

namespace fmaserver::sessions {
namespace {

absl::Status NotFound(const SessionName& name) {
  return absl::NotFoundError(Concat(Describe(name), ": there is none"));
}

absl::Status CheckRange(std::string_view what, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Concat(what, ": found ", value, ", allowed: ", least, " to ", most));
}

absl::Status CheckOptions(const SessionModel& model, const SessionOptions& options) {
  constexpr int64_t kMost = int64_t{1} << 50;
  if (model.fingerprint.size() != kSha256Bytes) {
    return absl::InvalidArgumentError("fingerprint: it must have 32 bytes");
  }
  for (const absl::Status& status :
       {CheckRange("slot bytes", model.slot_bytes, 1, kMost),
        CheckRange("session memory", options.memory_bytes, 0, kMost),
        CheckRange("rewind points", options.rewind_points, 0, kMaxRewindPoints),
        CheckRange("session log tokens", options.log_tokens, 1, kMaxLogTokens),
        CheckRange("max sessions", options.max_sessions, 0, kMost),
        CheckLifetime({.ttl_seconds = options.ttl_seconds})}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckLifetime(const SessionLifetime& lifetime) {
  const double ttl = lifetime.ttl_seconds.value_or(0);
  if (ttl >= 0 && ttl <= kMaxTtlSeconds) return absl::OkStatus();
  return absl::InvalidArgumentError(Concat("ttl_seconds: found ", ttl, ", allowed: 0 (never) to ",
                                           static_cast<int64_t>(kMaxTtlSeconds)));
}

SessionStore::SessionStore(SessionModel model, SessionOptions options, SessionObserver* observer)
    : model_(std::move(model)),
      options_(std::move(options)),
      observer_(observer),
      table_(options_.memory_bytes, model_.slot_bytes) {}

SessionStore::~SessionStore() = default;

absl::StatusOr<std::unique_ptr<SessionStore>> SessionStore::Open(SessionModel model,
                                                                 SessionOptions options,
                                                                 SessionObserver* observer) {
  static SessionObserver nobody;
  if (absl::Status status = CheckOptions(model, options); !status.ok()) return status;
  auto store = absl::WrapUnique(new SessionStore(std::move(model), std::move(options),
                                                 observer == nullptr ? &nobody : observer));
  if (!store->options_.dir.empty()) {
    std::vector<StoredSession> stored;
    auto directory = SessionDirectory::Open(store->options_.dir, store->model_, stored);
    if (!directory.ok()) return directory.status();
    store->directory_ = *std::move(directory);
    for (StoredSession& session : stored) {
      const std::vector<PointPtr> points = session.contents.points;
      store->table_.Insert(std::move(session.name), {.contents = std::move(session.contents),
                                                     .durable = true,
                                                     .stamp = session.stamp,
                                                     .saved_points = points});
    }
  }
  if (store->options_.sweep_seconds > 0) {
    store->sweeper_ = std::jthread([store = store.get()](const std::stop_token& stop) {
      const std::chrono::duration<double> pause(store->options_.sweep_seconds);
      std::mutex mutex;
      std::unique_lock lock(mutex);
      while (!store->stop_sweeping_.wait_for(lock, stop, pause, [] { return false; }) &&
             !stop.stop_requested()) {
        store->Sweep();
      }
    });
  }
  return store;
}

bool SessionStore::IsExpired(const Session& session) const {
  const SessionContents& contents = session.contents;
  return session.use == Session::Use::kIdle && !contents.pinned && contents.ttl_seconds > 0 &&
         SecondsSince(session.last_used) > contents.ttl_seconds;
}

absl::StatusOr<SessionPtr> SessionStore::Find(Lock& lock, const SessionName& name) {
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  for (;;) {
    SessionPtr session = table_.Find(name);
    if (session != nullptr && session->use == Session::Use::kChanging) {
      changed_.wait(lock);
      continue;
    }
    if (session != nullptr && session->use == Session::Use::kTurn) return session;
    if (absl::Status status = Refresh(name, session); !status.ok()) return status;
    session = table_.Find(name);
    if (session == nullptr) return NotFound(name);
    if (!IsExpired(*session)) return session;
    // Another server may have used it, and its file tells.
    if (absl::IsAborted(Remove(lock, session))) continue;
    return NotFound(name);
  }
}

absl::Status SessionStore::Refresh(const SessionName& name, const SessionPtr& known) {
  if (directory_ == nullptr) return absl::OkStatus();
  const absl::StatusOr<std::optional<FileStamp>> stamp = directory_->Stamp(name);
  if (!stamp.ok()) return known != nullptr ? absl::OkStatus() : stamp.status();
  if (*stamp == (known == nullptr ? std::nullopt : known->stamp)) return absl::OkStatus();
  absl::StatusOr<StoredSession> stored = absl::NotFoundError("");
  if (stamp->has_value()) stored = directory_->Read(name);
  if (!stored.ok()) {
    if (known != nullptr) table_.Erase(*known);
    return absl::IsNotFound(stored.status()) ? absl::OkStatus() : stored.status();
  }
  const std::vector<PointPtr> points = stored->contents.points;
  SessionVersion version{.contents = std::move(stored->contents),
                         .durable = true,
                         .stamp = stored->stamp,
                         .saved_points = points};
  if (known != nullptr) {
    table_.Set(*known, std::move(version));
    table_.SetUse(*known, Session::Use::kIdle);
  } else {
    table_.Insert(name, std::move(version));
  }
  return absl::OkStatus();
}

absl::Status SessionStore::Remove(Lock& lock, const SessionPtr& session) {
  absl::Status status;
  if (directory_ != nullptr) {
    table_.SetUse(*session, Session::Use::kChanging);
    lock.unlock();
    status = directory_->Remove(session->name, session->stamp, session->saved_points);
    lock.lock();
  }
  if (status.ok()) table_.Erase(*session);
  session->use = Session::Use::kIdle;  // not used now: it stays as old as it is
  changed_.notify_all();
  return status;
}

absl::StatusOr<SessionPtr> SessionStore::Claim(Lock& lock, const SessionName& name,
                                               Session::Use use) {
  absl::StatusOr<SessionPtr> session = Find(lock, name);
  if (!session.ok()) return session;
  if ((*session)->use == Session::Use::kTurn) {
    return absl::AbortedError(Concat(Describe(name), ": another call is using it"));
  }
  table_.SetUse(**session, use);
  return session;
}

void SessionStore::Unclaim(const SessionPtr& session) {
  {
    const Lock lock(mutex_);
    table_.SetUse(*session, Session::Use::kIdle);
    table_.MakeRoom(0);
  }
  changed_.notify_all();
}

absl::Status SessionStore::LoadTail(const SessionPtr& session) {
  Lock lock(mutex_);
  if (session->contents.tail != nullptr) return absl::OkStatus();
  const std::optional<FileStamp> stamp = session->stamp;
  lock.unlock();
  auto tail = directory_->ReadTail(session->name, stamp);
  lock.lock();
  if (tail.ok()) {
    table_.Attach(*session, *std::move(tail));
    return absl::OkStatus();
  }
  if (absl::IsDataLoss(tail.status())) {
    table_.Erase(*session);
  }
  if (absl::IsNotFound(tail.status())) {
    return absl::AbortedError(Concat(Describe(session->name), ": another server removed it"));
  }
  return tail.status();
}

absl::StatusOr<engine::SnapshotPtr> SessionStore::LoadState(const SessionPtr& session,
                                                            const PointPtr& point) {
  {
    const Lock lock(mutex_);
    if (point->snapshot != nullptr) return point->snapshot;
  }
  const Clock::time_point start = Clock::now();
  auto file = directory_->OpenState(session->name, *point);
  if (!file.ok()) {
    // A server that changed the session has removed the states that it holds no more.
    const auto stamp = directory_->Stamp(session->name);
    if (stamp.ok() && *stamp != session->stamp) {
      return absl::AbortedError(Concat(Describe(session->name), ": another server is using it"));
    }
    return file.status();
  }
  absl::StatusOr<engine::SnapshotPtr> snapshot = directory_->ReadState(*file, *point);
  if (!snapshot.ok()) return snapshot;
  observer_->OnRestore(SecondsSince(start));
  const Lock lock(mutex_);
  table_.Attach(*point, *snapshot);
  return snapshot;
}

SavePlan SessionStore::PlanFor(Lock& /*lock*/, SessionContents contents) const {
  SavePlan plan{.contents = std::move(contents)};
  for (const PointPtr& point : plan.contents.points) plan.snapshots.push_back(point->snapshot);
  return plan;
}

absl::StatusOr<SessionVersion> SessionStore::Save(SavePlan plan) {
  const Clock::time_point start = Clock::now();
  absl::StatusOr<SavedStamp> saved = directory_->Save(plan);
  if (absl::IsAborted(saved.status())) return saved.status();
  SessionVersion version{.contents = std::move(plan.contents), .stamp = plan.expected};
  absl::Status status = saved.status();
  if (saved.ok()) {
    status = saved->synced;
    version.stamp = saved->stamp;
    version.saved_points = version.contents.points;
  }
  version.durable = status.ok();
  if (version.durable) {
    observer_->OnSave(SecondsSince(start));
    if (saving_fails_.exchange(false)) spdlog::info("sessions are saved again");
  } else {
    observer_->OnSaveFailed();
    // Once, not for each of the sessions that a full disk concerns.
    if (!saving_fails_.exchange(true)) {
      spdlog::error("sessions go on in memory only: {}", std::string(status.message()));
    }
  }
  return version;
}

absl::Status SessionStore::Replace(const SessionPtr& session, SessionContents next) {
  Lock lock(mutex_);
  if (session->gone) {
    return absl::AbortedError(Concat(Describe(session->name), ": it was removed meanwhile"));
  }
  // Whoever looks now waits for the outcome.
  const Session::Use use = std::exchange(session->use, Session::Use::kChanging);
  const auto restore = absl::MakeCleanup([&] {
    if (!lock.owns_lock()) lock.lock();
    session->use = use;
    changed_.notify_all();
  });
  SessionVersion version{.stamp = session->stamp, .saved_points = session->saved_points};
  if (directory_ == nullptr) {
    version.contents = std::move(next);
  } else {
    SavePlan plan = PlanFor(lock, std::move(next));
    plan.source = session->name;
    plan.expected = session->stamp;
    plan.targets = {session->name};
    for (const PointPtr& point : session->saved_points) {
      const auto same = [&point](const PointPtr& kept) { return kept->id == point->id; };
      if (std::ranges::none_of(plan.contents.points, same)) plan.dropped.push_back(point);
    }
    lock.unlock();
    absl::StatusOr<SessionVersion> saved = Save(std::move(plan));
    if (!saved.ok()) return saved.status();
    lock.lock();
    if (!saved->durable && saved->stamp == version.stamp) {
      saved->saved_points = std::move(version.saved_points);
    }
    version = *std::move(saved);
  }
  table_.Set(*session, std::move(version));
  table_.MakeRoom(0);
  return absl::OkStatus();
}

absl::Status SessionStore::CheckRoom(Lock& /*lock*/, int64_t sessions) {
  if (std::ssize(table_.sessions()) + sessions > options_.max_sessions) {
    return absl::ResourceExhaustedError(Concat("there are ", table_.sessions().size(),
                                               " sessions, allowed: ", options_.max_sessions));
  }
  // What is on disk takes no memory for long.
  if (directory_ != nullptr && !saving_fails_) return absl::OkStatus();
  if (table_.MakeRoom(0)) return absl::OkStatus();
  return absl::ResourceExhaustedError(Concat("sessions take more memory than the ",
                                             options_.memory_bytes,
                                             " bytes that they may; delete some"));
}

SessionInfo SessionStore::InfoOf(const Session& session) const {
  const SessionContents& contents = session.contents;
  const bool in_memory = contents.points.empty() || contents.points.back()->snapshot != nullptr;
  SessionInfo info{
      .id = session.name.id,
      .tokens = contents.tokens,
      .place = session.use == Session::Use::kTurn ? SessionPlace::kActive
               : in_memory                        ? SessionPlace::kInMemory
                                                  : SessionPlace::kOnDisk,
      .bytes = std::ssize(contents.points) * model_.slot_bytes,
      .log_begin = contents.log_begin,
      .durable = session.durable,
      .pinned = contents.pinned,
      .ttl_seconds = contents.ttl_seconds,
      .idle_seconds = session.use == Session::Use::kIdle ? SecondsSince(session.last_used) : 0};
  for (const PointPtr& point : contents.points) info.rewind_points.push_back(point->tokens);
  if (contents.interruption.has_value()) info.resume_token = contents.interruption->token;
  return info;
}

SessionInfo SessionStore::Info(const SessionPtr& session) {
  const Lock lock(mutex_);
  return InfoOf(*session);
}

void SessionStore::Sweep() {
  std::vector<SessionName> expired;
  {
    const Lock lock(mutex_);
    for (const auto& [name, session] : table_.sessions()) {
      if (IsExpired(*session)) expired.push_back(name);
    }
  }
  for (const SessionName& name : expired) {
    Lock lock(mutex_);
    (void)Find(lock, name);  // removes it, unless it was used since
  }
}

SessionStats SessionStore::Stats() const {
  const Lock lock(mutex_);
  return table_.Stats();
}

}  // namespace fmaserver::sessions
