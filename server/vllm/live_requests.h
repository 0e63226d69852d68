// The requests that run, by the ids that their callers gave them, so that they can be aborted.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>

#include "server/service/generation.h"

namespace fmaserver::vllm {

/// Thread-safe.
class LiveRequests {
 public:
  /// One request, as long as it lives.
  class Entry {
   public:
    explicit Entry(std::shared_ptr<LiveRequests> all);
    ~Entry();
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

    /// Both are needed before the request can be found; ids of several may be the same.
    void SetName(const std::string& tenant, const std::string& id);
    void SetCall(const std::shared_ptr<service::Generation>& call);

   private:
    friend class LiveRequests;
    const std::shared_ptr<LiveRequests> all_;
    // Guarded by the mutex of all_.
    std::string tenant_;
    std::string id_;
    std::weak_ptr<service::Generation> call_;
  };

  /// Cancels the tenant's requests that have one of these ids.
  void Abort(const std::string& tenant, const std::unordered_set<std::string_view>& ids);

 private:
  std::mutex mutex_;
  std::set<const Entry*> entries_;  // guarded by mutex_
};

}  // namespace fmaserver::vllm
