#include "server/sessions/session_store.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>
#include <variant>

#include "absl/memory/memory.h"
#include "base/id.h"
#include "base/json.h"
#include "base/names.h"
#include "base/refusal.h"
#include "base/sha256.h"
#include "base/text.h"
#include "server/sessions/new_session.h"
#include "server/sessions/shelf/open_shelf.h"

namespace fmaserver::sessions {
namespace {

SessionObserver& Nobody() {
  static SessionObserver nobody;
  return nobody;
}

absl::Status CheckRange(std::string_view what, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return Refusal(what, value, FromTo(least, most));
}

absl::Status CheckOptions(const SessionModel& model, const SessionOptions& options) {
  constexpr int64_t kMost = int64_t{1} << 50;
  if (model.fingerprint.size() != kSha256Bytes) {
    return Refusal("fingerprint", Words{Concat(model.fingerprint.size(), " bytes")},
                   Concat(kSha256Bytes, " bytes"));
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

absl::StatusOr<std::unique_ptr<SessionStore>> SessionStore::Open(SessionModel model,
                                                                 SessionOptions options,
                                                                 SessionObserver* observer,
                                                                 Now now) {
  if (absl::Status status = CheckOptions(model, options); !status.ok()) return status;
  if (observer == nullptr) observer = &Nobody();
  absl::StatusOr<std::unique_ptr<StateShelf>> shelf = OpenShelf(options, model, *observer);
  if (!shelf.ok()) return shelf.status();
  return Open(std::move(model), std::move(options), *std::move(shelf), observer, std::move(now));
}

absl::StatusOr<std::unique_ptr<SessionStore>> SessionStore::Open(SessionModel model,
                                                                 SessionOptions options,
                                                                 std::unique_ptr<StateShelf> shelf,
                                                                 SessionObserver* observer,
                                                                 Now now) {
  if (absl::Status status = CheckOptions(model, options); !status.ok()) return status;
  auto store = absl::WrapUnique(
      new SessionStore(std::move(model), std::move(options), std::move(shelf),
                       observer == nullptr ? Nobody() : *observer, std::move(now)));
  if (absl::Status status = store->Recover(); !status.ok()) return status;
  store->StartSweeper();
  return store;
}

absl::Status SessionStore::Recover() {
  if (core_.shelf == nullptr) return absl::OkStatus();
  absl::StatusOr<std::vector<StoredSession>> stored = core_.shelf->Recover();
  if (!stored.ok()) return stored.status();
  for (StoredSession& session : *stored) {
    const SessionTable::AnyClaim claim = core_.table.Take(session.name);
    std::vector<ShelfItem> items = ItemsOf(session.contents);
    core_.table.Set(std::get<ChangeClaim>(claim), {.contents = std::move(session.contents),
                                                   .durable = true,
                                                   .version = std::move(session.version),
                                                   .saved = std::move(items)});
  }
  return absl::OkStatus();
}

void SessionStore::StartSweeper() {
  if (core_.options.sweep_seconds <= 0) return;
  sweeper_ = std::jthread([this](const std::stop_token& stop) {
    const std::chrono::duration<double> pause(core_.options.sweep_seconds);
    std::mutex mutex;
    std::unique_lock lock(mutex);
    while (!stop_sweeping_.wait_for(lock, stop, pause, [] { return false; }) &&
           !stop.stop_requested()) {
      Sweep();
    }
  });
}

SessionStore::~SessionStore() = default;

void SessionStore::Sweep(const std::string& tenant) {
  for (const SessionName& name : core_.table.Expired(tenant)) {
    (void)core_.reader.Find(name);  // removes it, unless it was used since
  }
}

absl::StatusOr<SessionInfo> SessionStore::Create(SessionName name,
                                                 const SessionLifetime& lifetime) {
  if (name.id.empty()) name.id = RandomId();
  if (absl::Status status = CheckLifetime(lifetime); !status.ok()) return status;
  return MakeSession(core_, name, EmptyContents(lifetime, core_.options));
}

absl::StatusOr<SessionInfo> SessionStore::Get(const SessionName& name) {
  const absl::StatusOr<SessionTable::AnyClaim> claim = core_.reader.Find(name);
  if (!claim.ok()) return claim.status();
  return std::visit([this](const Claim& held) { return core_.table.InfoOf(held); }, *claim);
}

absl::StatusOr<std::vector<std::string>> SessionStore::IdsFrom(const std::string& tenant,
                                                               const std::string& from) const {
  std::vector<std::string> ids = core_.table.Ids(tenant, from);
  if (core_.shelf != nullptr) {
    absl::StatusOr<std::vector<std::string>> stored = core_.shelf->Ids(tenant);
    if (!stored.ok()) return stored.status();
    std::ranges::copy_if(*stored, std::back_inserter(ids),
                         [&from](const std::string& id) { return id >= from; });
  }
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

absl::StatusOr<SessionPage> SessionStore::List(const std::string& tenant, const std::string& from,
                                               int64_t count) {
  if (!from.empty() && !IsName(from)) {
    return Refusal("page_token", from, "the next_page_token of a page");
  }
  const auto ids = IdsFrom(tenant, from);
  if (!ids.ok()) return ids.status();
  SessionPage page;
  for (const std::string& id : *ids) {
    if (std::ssize(page.sessions) == count) {
      page.next = id;
      break;
    }
    // A session that has expired or failed meanwhile is left out.
    absl::StatusOr<SessionInfo> info = Get({tenant, id});
    if (info.ok()) page.sessions.push_back(*std::move(info));
  }
  return page;
}

absl::StatusOr<SessionInfo> SessionStore::Change(
    const SessionName& name, const std::function<absl::Status(SessionContents&)>& change) {
  absl::StatusOr<ChangeClaim> claim = core_.reader.FindToChange(name);
  if (!claim.ok()) return claim.status();
  absl::StatusOr<SessionContents> contents = core_.reader.Load(*claim);
  if (!contents.ok()) return contents.status();
  if (absl::Status status = change(*contents); !status.ok()) return status;
  absl::Status status = core_.writer.Replace(*claim, *std::move(contents));
  if (!status.ok()) return status;
  return core_.table.End(*std::move(claim));
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
    absl::Status status = CheckRange("tokens", tokens, 0, contents.tokens);
    if (!status.ok()) return status;
    contents = Rewound(contents, tokens);
    return absl::OkStatus();
  });
  if (info.ok()) core_.observer.OnRewind(SecondsSince(start));
  return info;
}

absl::StatusOr<std::vector<SessionInfo>> SessionStore::Fork(const SessionName& name,
                                                            int64_t children) {
  constexpr int kAttempts = 3;
  const Clock::time_point start = Clock::now();
  if (absl::Status status = CheckRange("children", children, 1, kMaxChildren); !status.ok()) {
    return status;
  }
  absl::StatusOr<std::vector<SessionInfo>> infos;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    infos = TryFork(name, children);
    // ABORTED: another server changed the parent while the children were made.
    if (!absl::IsAborted(infos.status())) break;
  }
  if (infos.ok()) core_.observer.OnFork(children, SecondsSince(start));
  return infos;
}

absl::StatusOr<std::vector<SessionInfo>> SessionStore::TryFork(const SessionName& name,
                                                               int64_t children) {
  const absl::StatusOr<ReadClaim> parent = core_.reader.FindToRead(name);
  if (!parent.ok()) return parent.status();
  if (absl::Status status = CheckCapacity(core_, children); !status.ok()) return status;
  absl::StatusOr<SessionContents> contents = core_.reader.Load(*parent);
  if (!contents.ok()) return contents.status();
  contents->pinned = false;
  contents->volume.clear();  // it stays the parent's alone
  if (contents->interruption.has_value()) *contents = Rewound(*contents, contents->tokens);
  DropNote(*contents);
  TrimLog(*contents, contents->tokens - core_.options.log_tokens);
  std::vector<ChangeClaim> claims;
  claims.reserve(static_cast<size_t>(children));
  for (int64_t i = 0; i < children; ++i) {
    // Nobody else can know the name, so this does not wait.
    claims.push_back(
        std::get<ChangeClaim>(core_.table.Take({.tenant = name.tenant, .id = RandomId()})));
  }
  absl::Status status = core_.writer.Add(claims, *std::move(contents), *parent);
  if (!status.ok()) return status;
  std::vector<SessionInfo> infos;
  infos.reserve(claims.size());
  for (ChangeClaim& claim : claims) infos.push_back(core_.table.End(std::move(claim)));
  return infos;
}

absl::Status SessionStore::Delete(const SessionName& name) {
  const absl::StatusOr<ChangeClaim> claim = core_.reader.FindToChange(name);
  if (!claim.ok()) return claim.status();
  return core_.writer.Remove(*claim);
}

absl::StatusOr<std::unique_ptr<SessionExport>> SessionStore::Export(const SessionName& name,
                                                                    bool head_only) {
  const absl::StatusOr<ReadClaim> claim = core_.reader.FindToRead(name);
  if (!claim.ok()) return claim.status();
  absl::StatusOr<SessionContents> contents = core_.reader.Load(*claim);
  if (!contents.ok()) return contents.status();
  *contents = Rewound(*contents, contents->tokens);  // without an interrupted turn
  if (head_only && !contents->points.empty()) {
    contents->points.erase(contents->points.begin(), contents->points.end() - 1);
    TrimChunks(*contents);
  }
  TrimLog(*contents, contents->tokens - core_.options.log_tokens);
  auto parts = core_.reader.Hold(*claim, PartsOf(*contents));
  if (!parts.ok()) return parts.status();
  return std::make_unique<SessionExport>(core_.model, *contents, *std::move(parts));
}

absl::StatusOr<std::unique_ptr<SessionImport>> SessionStore::Import(
    SessionName name, const SessionLifetime& lifetime) {
  if (name.id.empty()) name.id = RandomId();
  if (absl::Status status = CheckLifetime(lifetime); !status.ok()) return status;
  if (const auto claim = core_.reader.ClaimNew(name); !claim.ok()) return claim.status();
  if (absl::Status status = CheckCapacity(core_, 1); !status.ok()) return status;
  return std::make_unique<SessionImport>(core_, std::move(name),
                                         EmptyContents(lifetime, core_.options));
}

absl::StatusOr<std::unique_ptr<Turn>> SessionStore::BeginTurn(const SessionName& name,
                                                              int64_t min_pending,
                                                              bool with_archive) {
  return Turn::Begin(core_, name, min_pending, with_archive);
}

absl::StatusOr<std::unique_ptr<Turn>> SessionStore::BeginBranch(const SessionName& child,
                                                                const std::string& parent,
                                                                bool with_archive) {
  return Turn::Branch(core_, child, parent, with_archive);
}

absl::StatusOr<std::string> SessionStore::Note(const SessionName& name) {
  const absl::StatusOr<ReadClaim> claim = core_.reader.FindToRead(name);
  if (!claim.ok()) return claim.status();
  const absl::StatusOr<SessionContents> contents = core_.reader.Load(*claim);
  if (!contents.ok()) return contents.status();
  return contents->tail->note;
}

absl::StatusOr<ResumedTurn> SessionStore::BeginResume(const std::string& tenant,
                                                      const std::string& resume_token) {
  return Turn::Resume(core_, tenant, resume_token);
}

}  // namespace fmaserver::sessions
