// The calls that make, list, change and remove sessions.
#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/memory/memory.h"
#include "base/id.h"
#include "base/json.h"
#include "base/names.h"
#include "base/text.h"
#include "server/sessions/session_export.h"
#include "server/sessions/session_import.h"
#include "server/sessions/session_name.h"
#include "server/sessions/session_store.h"

namespace fmaserver::sessions {
namespace {

absl::Status AlreadyExists(const SessionName& name) {
  return absl::AlreadyExistsError(Concat(Describe(name), ": there is one already"));
}

}  // namespace

SessionContents SessionStore::EmptyContents(const SessionLifetime& lifetime) const {
  return {.tail = std::make_shared<Tail>(),
          .ttl_seconds = lifetime.ttl_seconds.value_or(options_.ttl_seconds),
          .pinned = lifetime.pinned.value_or(false)};
}

absl::Status SessionStore::CheckNew(Lock& lock, const SessionName& name) {
  const absl::StatusOr<SessionPtr> found = Find(lock, name);
  if (found.ok()) return AlreadyExists(name);
  if (!absl::IsNotFound(found.status())) return found.status();
  return CheckRoom(lock, 1);
}

absl::StatusOr<std::vector<engine::SnapshotPtr>> SessionStore::ReadStates(
    const SessionName& owner, const std::vector<PointPtr>& points) {
  std::vector<engine::SnapshotPtr> snapshots;
  for (const PointPtr& point : points) {
    Lock lock(mutex_);
    snapshots.push_back(point->snapshot);
    lock.unlock();
    if (snapshots.back() != nullptr) continue;
    const auto file = directory_->OpenState(owner, *point);
    if (!file.ok()) return file.status();
    auto snapshot = directory_->ReadState(*file, *point);
    if (!snapshot.ok()) return snapshot.status();
    snapshots.back() = *std::move(snapshot);
  }
  return snapshots;
}

absl::StatusOr<std::vector<SessionInfo>> SessionStore::Add(
    Lock& lock, std::vector<SessionName> names, SessionContents contents, const SessionName& parent,
    const std::optional<FileStamp>& parent_stamp) {
  SessionVersion version;
  if (directory_ == nullptr) {
    version.contents = std::move(contents);
  } else {
    SavePlan plan = PlanFor(lock, std::move(contents));
    plan.source = parent;
    plan.expected = parent_stamp;
    plan.targets = names;
    lock.unlock();
    absl::StatusOr<SessionVersion> saved = Save(std::move(plan));
    absl::StatusOr<std::vector<engine::SnapshotPtr>> states = std::vector<engine::SnapshotPtr>();
    if (saved.ok() && !saved->durable) {
      // What has no files of its own needs its states in memory.
      states = ReadStates(parent, saved->contents.points);
      saved->stamp.reset();
      saved->saved_points.clear();
    }
    lock.lock();
    if (!saved.ok()) return saved.status();
    if (!states.ok()) return states.status();
    version = *std::move(saved);
    for (size_t i = 0; i < states->size(); ++i) {
      table_.Attach(*version.contents.points[i], std::move((*states)[i]));
    }
  }
  std::vector<SessionInfo> infos;
  for (SessionName& name : names) {
    SessionPtr session = table_.Find(name);
    if (session == nullptr) {
      session = table_.Insert(std::move(name), version);
    } else if (!version.durable) {
      return AlreadyExists(name);
    }  // else another call has found the file meanwhile
    infos.push_back(InfoOf(*session));
  }
  table_.MakeRoom(0);
  return infos;
}

absl::StatusOr<SessionInfo> SessionStore::Create(SessionName name,
                                                 const SessionLifetime& lifetime) {
  if (name.id.empty()) name.id = RandomId();
  if (absl::Status status = CheckLifetime(lifetime); !status.ok()) return status;
  Lock lock(mutex_);
  if (absl::Status status = CheckNew(lock, name); !status.ok()) return status;
  auto infos = Add(lock, {name}, EmptyContents(lifetime), name, std::nullopt);
  if (absl::IsAborted(infos.status())) return AlreadyExists(name);
  if (!infos.ok()) return infos.status();
  return infos->front();
}

absl::StatusOr<SessionInfo> SessionStore::Get(const SessionName& name) {
  Lock lock(mutex_);
  const absl::StatusOr<SessionPtr> session = Find(lock, name);
  if (!session.ok()) return session.status();
  return InfoOf(**session);
}

absl::StatusOr<std::vector<std::string>> SessionStore::IdsFrom(const std::string& tenant,
                                                               const std::string& from) {
  std::vector<std::string> ids;
  if (directory_ != nullptr) {
    auto stored = directory_->Ids(tenant);
    if (!stored.ok()) return stored.status();
    ids = *std::move(stored);
    std::erase_if(ids, [&from](const std::string& id) { return id < from; });
  }
  {
    const Lock lock(mutex_);
    const auto& sessions = table_.sessions();
    for (auto session = sessions.lower_bound({tenant, from});
         session != sessions.end() && session->first.tenant == tenant; ++session) {
      ids.push_back(session->first.id);
    }
  }
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

absl::StatusOr<SessionPage> SessionStore::List(const std::string& tenant, const std::string& from,
                                               int64_t count) {
  if (!from.empty() && !IsName(from)) {
    return absl::InvalidArgumentError(Concat("page_token: found ", Quoted(from.substr(0, 80)),
                                             ", allowed: the next_page_token of a page"));
  }
  const auto ids = IdsFrom(tenant, from);
  if (!ids.ok()) return ids.status();
  SessionPage page;
  for (const std::string& id : *ids) {
    if (std::ssize(page.sessions) == count) {
      page.next = id;
      break;
    }
    const absl::StatusOr<SessionInfo> info = Get({tenant, id});
    // What expired or broke meanwhile is no member of the list.
    if (info.ok()) page.sessions.push_back(*info);
  }
  return page;
}

absl::StatusOr<SessionInfo> SessionStore::Change(
    const SessionName& name, const std::function<absl::Status(SessionContents&)>& change) {
  Lock lock(mutex_);
  const absl::StatusOr<SessionPtr> session = Claim(lock, name, Session::Use::kChanging);
  if (!session.ok()) return session.status();
  lock.unlock();
  auto unclaim = absl::MakeCleanup([&] { Unclaim(*session); });
  if (absl::Status status = LoadTail(*session); !status.ok()) return status;
  lock.lock();
  SessionContents next = (*session)->contents;
  lock.unlock();
  if (absl::Status status = change(next); !status.ok()) return status;
  if (absl::Status status = Replace(*session, std::move(next)); !status.ok()) return status;
  std::move(unclaim).Invoke();
  return Info(*session);
}

absl::StatusOr<SessionInfo> SessionStore::Update(const SessionName& name,
                                                 const SessionLifetime& lifetime) {
  if (absl::Status status = CheckLifetime(lifetime); !status.ok()) return status;
  return Change(name, [&lifetime](SessionContents& contents) {
    contents.ttl_seconds = lifetime.ttl_seconds.value_or(contents.ttl_seconds);
    contents.pinned = lifetime.pinned.value_or(contents.pinned);
    return absl::OkStatus();
  });
}

absl::StatusOr<SessionInfo> SessionStore::Rewind(const SessionName& name, int64_t tokens) {
  const Clock::time_point start = Clock::now();
  auto info = Change(name, [tokens](SessionContents& contents) -> absl::Status {
    if (tokens < 0 || tokens > contents.tokens) {
      return absl::InvalidArgumentError(
          Concat("tokens: found ", tokens, ", allowed: 0 to ", contents.tokens));
    }
    contents = Rewound(contents, tokens);
    return absl::OkStatus();
  });
  if (info.ok()) observer_->OnRewind(SecondsSince(start));
  return info;
}

absl::StatusOr<std::vector<SessionInfo>> SessionStore::Fork(const SessionName& name,
                                                            int64_t children) {
  constexpr int kAttempts = 3;
  const Clock::time_point start = Clock::now();
  if (children < 1 || children > kMaxChildren) {
    return absl::InvalidArgumentError(
        Concat("children: found ", children, ", allowed: 1 to ", kMaxChildren));
  }
  absl::StatusOr<std::vector<SessionInfo>> infos;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    infos = TryFork(name, children);
    // A turn may end, and change what the parent holds, while the children are made.
    if (!absl::IsAborted(infos.status())) break;
  }
  if (infos.ok()) observer_->OnFork(children, SecondsSince(start));
  return infos;
}

absl::StatusOr<std::vector<SessionInfo>> SessionStore::TryFork(const SessionName& name,
                                                               int64_t children) {
  Lock lock(mutex_);
  const absl::StatusOr<SessionPtr> parent = Find(lock, name);
  if (!parent.ok()) return parent.status();
  if (absl::Status status = CheckRoom(lock, children); !status.ok()) return status;
  // During a turn the parent's contents stay as they are, and its tail in memory.
  const bool claim = (*parent)->use == Session::Use::kIdle;
  if (claim) table_.SetUse(**parent, Session::Use::kChanging);
  lock.unlock();
  const auto unclaim = absl::MakeCleanup([&] {
    if (claim) Unclaim(*parent);
  });
  if (absl::Status status = LoadTail(*parent); !status.ok()) return status;

  std::vector<SessionName> names;
  for (int64_t i = 0; i < children; ++i) names.push_back({name.tenant, RandomId()});
  lock.lock();
  const auto unlock = absl::MakeCleanup([&] { lock.unlock(); });  // before the claim ends
  SessionContents contents = (*parent)->contents;
  const std::optional<FileStamp> stamp = (*parent)->stamp;
  contents.pinned = false;
  if (contents.interruption.has_value()) contents = Rewound(contents, contents.tokens);
  TrimLog(contents, contents.tokens - options_.log_tokens);
  return Add(lock, std::move(names), std::move(contents), name, stamp);
}

absl::Status SessionStore::Delete(const SessionName& name) {
  Lock lock(mutex_);
  const absl::StatusOr<SessionPtr> session = Find(lock, name);
  if (!session.ok()) return session.status();
  if ((*session)->use == Session::Use::kTurn) {
    return absl::AbortedError(Concat(Describe(name), ": another call is using it"));
  }
  return Remove(lock, *session);
}

absl::StatusOr<std::unique_ptr<SessionExport>> SessionStore::Export(const SessionName& name,
                                                                    bool head_only) {
  Lock lock(mutex_);
  const absl::StatusOr<SessionPtr> session = Find(lock, name);
  if (!session.ok()) return session.status();
  const bool claim = (*session)->use == Session::Use::kIdle;
  if (claim) table_.SetUse(**session, Session::Use::kChanging);
  lock.unlock();
  const auto unclaim = absl::MakeCleanup([&] {
    if (claim) Unclaim(*session);
  });
  if (absl::Status status = LoadTail(*session); !status.ok()) return status;

  lock.lock();
  const auto unlock = absl::MakeCleanup([&] { lock.unlock(); });
  SessionContents contents = Rewound((*session)->contents, (*session)->contents.tokens);
  if (head_only && !contents.points.empty()) {
    contents.points.erase(contents.points.begin(), contents.points.end() - 1);
  }
  TrimLog(contents, contents.tokens - options_.log_tokens);
  // Open files stay readable, whatever the session does while the export goes on.
  std::vector<SessionExport::State> states;
  for (const PointPtr& point : contents.points) {
    SessionExport::State state{.point = point, .snapshot = point->snapshot};
    if (state.snapshot == nullptr) {
      absl::StatusOr<OpenFile> file = directory_->OpenState(name, *point);
      if (!file.ok()) return file.status();
      state.file = *std::move(file);
    }
    states.push_back(std::move(state));
  }
  return absl::WrapUnique(
      new SessionExport(model_, directory_.get(), std::move(contents), std::move(states)));
}

absl::StatusOr<std::unique_ptr<SessionImport>> SessionStore::Import(
    SessionName name, const SessionLifetime& lifetime) {
  if (name.id.empty()) name.id = RandomId();
  if (absl::Status status = CheckLifetime(lifetime); !status.ok()) return status;
  Lock lock(mutex_);
  if (absl::Status status = CheckNew(lock, name); !status.ok()) return status;
  return absl::WrapUnique(new SessionImport(*this, std::move(name), EmptyContents(lifetime)));
}

}  // namespace fmaserver::sessions
