#include "server/sessions/session_import.h"

#include <utility>

#include "base/text.h"
#include "server/sessions/session_name.h"
#include "server/sessions/session_store.h"

namespace fmaserver::sessions {

SessionImport::SessionImport(SessionStore& store, SessionName name, SessionContents empty)
    : store_(store),
      name_(std::move(name)),
      empty_(std::move(empty)),
      parser_(store.model(), [this](int64_t bytes) { return Reserve(bytes); }) {}

SessionImport::~SessionImport() {
  const SessionStore::Lock lock(store_.mutex_);
  store_.table_.Release(reserved_bytes_);
}

absl::Status SessionImport::Reserve(int64_t bytes) {
  const SessionStore::Lock lock(store_.mutex_);
  if (!store_.table_.MakeRoom(bytes)) {
    return absl::ResourceExhaustedError(
        Concat("data: the session takes ", bytes, " bytes, more than is free of the ",
               store_.options().memory_bytes, " that sessions may take"));
  }
  store_.table_.Reserve(bytes);
  reserved_bytes_ = bytes;
  return absl::OkStatus();
}

absl::StatusOr<SessionInfo> SessionImport::Finish() {
  absl::StatusOr<SessionContents> contents = parser_.Finish();
  if (!contents.ok()) return contents.status();
  contents->ttl_seconds = empty_.ttl_seconds;
  contents->pinned = empty_.pinned;
  ThinPoints(contents->points, store_.options().rewind_points);
  TrimLog(*contents, contents->tokens - store_.options().log_tokens);
  SessionStore::Lock lock(store_.mutex_);
  if (absl::Status status = store_.CheckNew(lock, name_); !status.ok()) return status;
  // From here on the session itself counts.
  store_.table_.Release(std::exchange(reserved_bytes_, 0));
  auto infos = store_.Add(lock, {name_}, *std::move(contents), name_, std::nullopt);
  if (absl::IsAborted(infos.status())) {
    return absl::AlreadyExistsError(Concat(Describe(name_), ": there is one already"));
  }
  if (!infos.ok()) return infos.status();
  return infos->front();
}

}  // namespace fmaserver::sessions
