// Saves whose end is not known: the store may have taken them, may still do so, or may go back to
// them because a replica takes over.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "base/text.h"
#include "server/sessions/session_types.h"

namespace fmaserver::sessions {

/// That of the save that made a version; empty for none.
inline std::string StampOf(const Version& version) {
  return version.value.substr(version.value.rfind('.') + 1);
}

/// The stamps of such saves of each session. A record that one of them has made is our own, and
/// older than what is in memory: not a change by another server. Thread-safe.
class OpenSaves {
 public:
  void Add(const SessionName& name, const std::string& stamp) {
    if (stamp.empty()) return;
    const std::lock_guard lock(mutex_);
    std::string& stamps = stamps_[name];
    stamps = stamps.empty() ? stamp : Concat(stamps, " ", stamp);
    if (stamps.size() > kMostBytes) stamps.erase(0, stamps.find(' ') + 1);
  }

  /// Whether this version was made by one of them.
  bool Has(const SessionName& name, const Version& version) const {
    const std::string stamp = StampOf(version);
    return !stamp.empty() &&
           Concat(" ", Of(name), " ").find(Concat(" ", stamp, " ")) != std::string::npos;
  }

  /// It did not happen, after all.
  void Remove(const SessionName& name, const std::string& stamp) {
    const std::lock_guard lock(mutex_);
    const auto found = stamps_.find(name);
    if (found == stamps_.end()) return;
    std::string& stamps = found->second;
    const size_t at = stamps.find(stamp);
    if (at == std::string::npos) return;
    stamps.erase(at == 0 ? 0 : at - 1, stamp.size() + 1);
    if (stamps.empty()) stamps_.erase(found);
  }

  /// Whatever there was of this session has come to its end.
  void Forget(const SessionName& name) {
    const std::lock_guard lock(mutex_);
    stamps_.erase(name);
  }

  /// Separated by spaces.
  std::string Of(const SessionName& name) const {
    const std::lock_guard lock(mutex_);
    const auto found = stamps_.find(name);
    return found == stamps_.end() ? std::string() : found->second;
  }

 private:
  /// A hundred or two for a session: a store that is in trouble for longer forgets the oldest.
  static constexpr size_t kMostBytes = 4096;

  mutable std::mutex mutex_;
  std::map<SessionName, std::string> stamps_;
};

}  // namespace fmaserver::sessions
