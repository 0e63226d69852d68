#include "server/vllm/live_requests.h"

#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace fmaserver::vllm {

LiveRequests::Entry::Entry(std::shared_ptr<LiveRequests> all) : all_(std::move(all)) {
  const std::lock_guard lock(all_->mutex_);
  all_->entries_.insert(this);
}

LiveRequests::Entry::~Entry() {
  const std::lock_guard lock(all_->mutex_);
  all_->entries_.erase(this);
}

void LiveRequests::Entry::SetName(const std::string& tenant, const std::string& id) {
  const std::lock_guard lock(all_->mutex_);
  tenant_ = tenant;
  id_ = id;
}

void LiveRequests::Entry::SetCall(const std::shared_ptr<service::Generation>& call) {
  const std::lock_guard lock(all_->mutex_);
  call_ = call;
}

void LiveRequests::Abort(const std::string& tenant,
                         const std::unordered_set<std::string_view>& ids) {
  std::vector<std::shared_ptr<service::Generation>> found;
  {
    const std::lock_guard lock(mutex_);
    for (const Entry* entry : entries_) {
      if (entry->tenant_ != tenant || entry->id_.empty() || !ids.contains(entry->id_)) continue;
      found.push_back(entry->call_.lock());
    }
  }
  // Without the lock, because the end of a request may end its entry.
  for (const auto& call : found) {
    if (call != nullptr) call->OnCancel(absl::CancelledError("the request was aborted by its id"));
  }
}

}  // namespace fmaserver::vllm
