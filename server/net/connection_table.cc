#include "server/net/connection_table.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>

#include "server/net/socket_address.h"

namespace fmaserver::net {
namespace {

/// 0 for what is closed or no socket.
ino_t InodeOf(int descriptor) {
  struct stat info;
  return fstat(descriptor, &info) == 0 && S_ISSOCK(info.st_mode) ? info.st_ino : 0;
}

}  // namespace

bool ConnectionTable::Add(int socket) {
  const std::string host = HostOf(PeerAddress(socket));
  const std::lock_guard lock(mutex_);
  // Its number is in use again, so whoever had it before is gone.
  if (const auto before = connections_.find(socket); before != connections_.end()) Forget(before);
  if (!MayAdd(host)) ForgetClosed();
  if (!MayAdd(host)) {
    const bool server = std::ssize(connections_) >= limits_.total;
    ++(server ? counts_.refused_server : counts_.refused_address);
    return false;
  }
  connections_.emplace(socket, Connection{.inode = InodeOf(socket), .host = host});
  ++hosts_[host];
  ++counts_.accepted;
  return true;
}

void ConnectionTable::CountLackOfDescriptors() {
  const std::lock_guard lock(mutex_);
  ++counts_.refused_descriptors;
}

ConnectionCounts ConnectionTable::Counts() {
  const std::lock_guard lock(mutex_);
  ForgetClosed();
  ConnectionCounts counts = counts_;
  counts.open = std::ssize(connections_);
  counts.full = counts.open >= limits_.total;
  return counts;
}

void ConnectionTable::ForgetClosed() {
  constexpr int kShareOfTime = 20;
  constexpr std::chrono::milliseconds kPause(10);
  const Clock::time_point start = now_();
  if (start < next_look_) return;
  for (auto next = connections_.begin(); next != connections_.end();) {
    next = InodeOf(next->first) == next->second.inode ? std::next(next) : Forget(next);
  }
  const Clock::time_point end = now_();
  next_look_ = end + std::max<Clock::duration>(kPause, kShareOfTime * (end - start));
}

ConnectionTable::Connections::iterator ConnectionTable::Forget(Connections::iterator connection) {
  const auto host = hosts_.find(connection->second.host);
  if (--host->second == 0) hosts_.erase(host);
  return connections_.erase(connection);
}

bool ConnectionTable::MayAdd(const std::string& host) const {
  if (std::ssize(connections_) >= limits_.total) return false;
  const auto known = hosts_.find(host);
  // Unix sockets have no address.
  return host.empty() || known == hosts_.end() || known->second < limits_.per_address;
}

}  // namespace fmaserver::net
