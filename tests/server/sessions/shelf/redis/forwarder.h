// An address that leads to one server now and to another later, and spoils what servers answer.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/file_descriptor.h"

namespace fmaserver::testing {

/// Forwards TCP on this machine. To() is for connections that are made after it; the others end all
/// that there are.
class Forwarder {
 public:
  explicit Forwarder(int to);
  /// Ends all connections.
  ~Forwarder();
  Forwarder(const Forwarder&) = delete;
  Forwarder& operator=(const Forwarder&) = delete;

  int port() const { return port_; }

  void To(int port);
  /// Connections end after so many bytes of replies.
  void CutReplies(int64_t bytes);
  /// Whatever is asked, this is the answer.
  void Answer(const std::string& bytes);
  /// As at first.
  void Mend();

 private:
  struct Way {
    int to = 0;
    int64_t reply_bytes = INT64_MAX;
    std::string answer = {};  // empty: the server's
  };

  void Change(const std::function<void(Way&)>& change);
  bool Lasts(int64_t born) const { return !ends_ && born == changes_; }

  void Accept();
  void Serve(const FileDescriptor& client, const Way& way, int64_t born) const;
  void Deceive(const FileDescriptor& client, const std::string& answer, int64_t born) const;

  FileDescriptor listener_;
  int port_ = 0;
  std::atomic<bool> ends_ = false;
  std::atomic<int64_t> changes_ = 0;  // what was born before the last one ends
  std::mutex mutex_;
  Way way_;                           // guarded by mutex_
  std::vector<std::thread> threads_;  // of the accepting thread, until it has ended
  std::thread accepting_;
};

}  // namespace fmaserver::testing
