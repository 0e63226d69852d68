// The calls that make, list, change and remove sessions, as a tenant may make them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/service/call.h"
#include "server/sessions/session_export.h"
#include "server/sessions/session_import.h"
#include "server/sessions/session_store.h"

namespace fmaserver::service {

/// What the store does for one admitted call, whose tenant owns the sessions. Functions may block
/// on the disk. Errors are the store's; RESOURCE_EXHAUSTED for more sessions than the tenant may
/// have.
class SessionCalls {
 public:
  /// Views: both outlive this object.
  SessionCalls(sessions::SessionStore& store, const Call& call) : store_(store), call_(call) {}

  absl::StatusOr<sessions::SessionInfo> Create(const std::string& id,
                                               const sessions::SessionLifetime& lifetime);
  absl::StatusOr<sessions::SessionInfo> Get(const std::string& id);
  /// A page of `size` sessions, 1 to kMaxPageSize (absent: kDefaultPageSize), from `token` on.
  absl::StatusOr<sessions::SessionPage> List(const std::string& token, std::optional<int64_t> size);
  absl::StatusOr<sessions::SessionInfo> Update(const std::string& id,
                                               const sessions::SessionLifetime& lifetime);
  absl::StatusOr<std::vector<sessions::SessionInfo>> Fork(const std::string& id, int64_t children);
  absl::StatusOr<sessions::SessionInfo> Rewind(const std::string& id, int64_t tokens);
  absl::Status Delete(const std::string& id);
  absl::StatusOr<std::string> Note(const std::string& id);
  absl::StatusOr<std::unique_ptr<sessions::Turn>> BeginBranch(const std::string& child,
                                                              const std::string& parent,
                                                              bool with_archive);
  absl::StatusOr<std::unique_ptr<sessions::SessionExport>> Export(const std::string& id,
                                                                  bool head_only);
  absl::StatusOr<std::unique_ptr<sessions::SessionImport>> Import(
      const std::string& id, const sessions::SessionLifetime& lifetime);

  static constexpr int64_t kDefaultPageSize = 100;
  static constexpr int64_t kMaxPageSize = 1000;

 private:
  sessions::SessionName Named(const std::string& id) const { return {call_.tenant(), id}; }

  /// Calls at the same time may each see the same free place, so a tenant can exceed its limit by
  /// as many sessions as it may have calls at once.
  absl::Status CheckTenantLimit(int64_t more);

  sessions::SessionStore& store_;
  const Call& call_;
};

}  // namespace fmaserver::service
