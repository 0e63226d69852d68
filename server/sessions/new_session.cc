#include "server/sessions/new_session.h"

#include <utility>
#include <vector>

#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::sessions {

absl::Status CheckLifetime(const SessionLifetime& lifetime) {
  const double ttl = lifetime.ttl_seconds.value_or(0);
  if (ttl >= 0 && ttl <= kMaxTtlSeconds) return absl::OkStatus();
  return Refusal("ttl_seconds", ttl,
                 Concat("0 (never expires) to ", static_cast<int64_t>(kMaxTtlSeconds)));
}

absl::Status CheckCapacity(StoreCore& core, int64_t more) {
  const int64_t count = core.table.count();
  if (more > core.options.max_sessions - count) {
    return Refusal("number of sessions", count + more, Concat("up to ", core.options.max_sessions),
                   absl::StatusCode::kResourceExhausted);
  }
  // Sessions on the shelf need not stay in memory.
  if (core.shelf != nullptr && !core.writer.fails()) return absl::OkStatus();
  if (core.table.Fits()) return absl::OkStatus();
  return absl::ResourceExhaustedError(Concat("sessions take more memory than the ",
                                             core.options.memory_bytes,
                                             " bytes that they may; delete some"));
}

SessionContents EmptyContents(const SessionLifetime& lifetime, const SessionOptions& options) {
  return {.tail = std::make_shared<Tail>(),
          .ttl_seconds = lifetime.ttl_seconds.value_or(options.ttl_seconds),
          .pinned = lifetime.pinned.value_or(false)};
}

absl::StatusOr<SessionInfo> MakeSession(StoreCore& core, const SessionName& name,
                                        SessionContents contents) {
  absl::StatusOr<ChangeClaim> claim = core.reader.ClaimNew(name);
  if (!claim.ok()) return claim.status();
  if (absl::Status status = CheckCapacity(core, 1); !status.ok()) return status;
  std::vector<ChangeClaim> names;
  names.push_back(*std::move(claim));
  absl::Status status = core.writer.Add(names, std::move(contents), names.front());
  if (absl::IsAborted(status)) return AlreadyExists(name);  // made by another server meanwhile
  if (!status.ok()) return status;
  return core.table.End(std::move(names.front()));
}

}  // namespace fmaserver::sessions
