#include "server/rpc/deadline.h"

#include <algorithm>

namespace fmaserver::rpc {

absl::Status Deadline::WhyCancelled(Time now) const {
  constexpr Time::duration kOnTheWay = std::chrono::milliseconds(50);
  const bool has_deadline = deadline_ != Time::max();
  if (has_deadline && now >= deadline_ - std::max(kOnTheWay, (deadline_ - start_) / 50)) {
    return absl::DeadlineExceededError("the call's deadline passed");
  }
  return absl::CancelledError("the client cancelled the call");
}

}  // namespace fmaserver::rpc
