// A value of the store that is in memory, and the parts in it.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/sessions/state_shelf.h"

namespace fmaserver::sessions {

class ItemInMemory final : public OpenItem {
 public:
  /// `key` names it in messages.
  ItemInMemory(std::string key, std::string bytes, const SessionModel& model)
      : key_(std::move(key)), bytes_(std::move(bytes)), model_(model) {}

  absl::StatusOr<engine::SnapshotPtr> Read(const Part& part) const override;

 private:
  const std::string key_;
  const std::string bytes_;
  const SessionModel model_;
};

}  // namespace fmaserver::sessions
