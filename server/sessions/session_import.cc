#include "server/sessions/session_import.h"

#include <utility>

#include "base/text.h"
#include "server/sessions/new_session.h"
#include "server/sessions/store_core.h"

namespace fmaserver::sessions {

SessionImport::SessionImport(StoreCore& core, SessionName name, SessionContents empty)
    : core_(core),
      name_(std::move(name)),
      empty_(std::move(empty)),
      parser_(core.model, name_.tenant, [this](int64_t bytes) { return Reserve(bytes); }) {}

absl::Status SessionImport::Reserve(int64_t bytes) {
  reserved_ = core_.table.Reserve(bytes);
  if (reserved_.has_value()) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      Concat("data: the session takes ", bytes, " bytes, more than is free of the ",
             core_.options.memory_bytes, " that sessions may take"));
}

absl::StatusOr<SessionInfo> SessionImport::Finish() {
  absl::StatusOr<SessionContents> contents = parser_.Finish();
  if (!contents.ok()) return contents.status();
  contents->ttl_seconds = empty_.ttl_seconds;
  contents->pinned = empty_.pinned;
  ThinPoints(contents->points, core_.options.rewind_points);
  TrimChunks(*contents);
  TrimLog(*contents, contents->tokens - core_.options.log_tokens);
  reserved_.reset();  // from here on the session itself is counted
  return MakeSession(core_, name_, *std::move(contents));
}

}  // namespace fmaserver::sessions
