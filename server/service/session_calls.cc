#include "server/service/session_calls.h"

#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::service {

absl::Status SessionCalls::CheckTenantLimit(int64_t more) {
  const int64_t limit = call_.tenant_limits().sessions;
  if (limit == 0) return absl::OkStatus();
  if (more <= limit - store_.CountOf(call_.tenant())) return absl::OkStatus();
  store_.Sweep(call_.tenant());  // expired sessions must not count
  const int64_t used = store_.CountOf(call_.tenant());
  if (more <= limit - used) return absl::OkStatus();
  return Refusal(At(Concat("tenant ", Quoted(call_.tenant())), "number of sessions"), used + more,
                 Concat("up to ", limit), absl::StatusCode::kResourceExhausted);
}

absl::StatusOr<sessions::SessionInfo> SessionCalls::Create(
    const std::string& id, const sessions::SessionLifetime& lifetime) {
  if (absl::Status status = CheckTenantLimit(1); !status.ok()) return status;
  return store_.Create(Named(id), lifetime);
}

absl::StatusOr<sessions::SessionInfo> SessionCalls::Get(const std::string& id) {
  return store_.Get(Named(id));
}

absl::StatusOr<sessions::SessionPage> SessionCalls::List(const std::string& token,
                                                         std::optional<int64_t> size) {
  const int64_t count = size.value_or(kDefaultPageSize);
  if (count >= 1 && count <= kMaxPageSize) return store_.List(call_.tenant(), token, count);
  return Refusal("page_size", count, FromTo<int64_t>(1, kMaxPageSize));
}

absl::StatusOr<sessions::SessionInfo> SessionCalls::Update(
    const std::string& id, const sessions::SessionLifetime& lifetime) {
  return store_.Update(Named(id), lifetime);
}

absl::StatusOr<std::vector<sessions::SessionInfo>> SessionCalls::Fork(const std::string& id,
                                                                      int64_t children) {
  if (absl::Status status = CheckTenantLimit(children); !status.ok()) return status;
  return store_.Fork(Named(id), children);
}

absl::StatusOr<sessions::SessionInfo> SessionCalls::Rewind(const std::string& id, int64_t tokens) {
  return store_.Rewind(Named(id), tokens);
}

absl::Status SessionCalls::Delete(const std::string& id) { return store_.Delete(Named(id)); }

absl::StatusOr<std::string> SessionCalls::Note(const std::string& id) {
  return store_.Note(Named(id));
}

absl::StatusOr<std::unique_ptr<sessions::Turn>> SessionCalls::BeginBranch(const std::string& child,
                                                                          const std::string& parent,
                                                                          bool with_archive) {
  absl::Status status = child.empty() ? absl::OkStatus() : CheckTenantLimit(1);
  if (!status.ok()) return status;
  return store_.BeginBranch(Named(child), parent, with_archive);
}

absl::StatusOr<std::unique_ptr<sessions::SessionExport>> SessionCalls::Export(const std::string& id,
                                                                              bool head_only) {
  return store_.Export(Named(id), head_only);
}

absl::StatusOr<std::unique_ptr<sessions::SessionImport>> SessionCalls::Import(
    const std::string& id, const sessions::SessionLifetime& lifetime) {
  if (absl::Status status = CheckTenantLimit(1); !status.ok()) return status;
  return store_.Import(Named(id), lifetime);
}

}  // namespace fmaserver::service
