#include "server/net/connection_table.h"

#include <netinet/in.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "server/net/socket_address.h"

namespace fmaserver::net {
namespace {

/// 0 for what is closed or no socket.
ino_t InodeOf(int descriptor) {
  struct stat info;
  return fstat(descriptor, &info) == 0 && S_ISSOCK(info.st_mode) ? info.st_ino : 0;
}

/// Whom a connection counts for: four bytes of IPv4, eight of IPv6, none for a Unix socket.
std::string PeerOf(int socket) {
  const SocketAddress peer = PeerAddress(socket);
  if (peer.family() == AF_INET) {
    const auto& ipv4 = reinterpret_cast<const sockaddr_in&>(peer.bytes);
    return {reinterpret_cast<const char*>(&ipv4.sin_addr), 4};
  }
  if (peer.family() != AF_INET6) return {};
  const in6_addr& ipv6 = reinterpret_cast<const sockaddr_in6&>(peer.bytes).sin6_addr;
  const char* bytes = reinterpret_cast<const char*>(&ipv6);
  return IN6_IS_ADDR_V4MAPPED(&ipv6) ? std::string(bytes + 12, 4) : std::string(bytes, 8);
}

}  // namespace

bool ConnectionTable::Add(int socket) {
  const std::string peer = PeerOf(socket);
  const std::lock_guard lock(mutex_);
  // Its number is in use again, so whoever had it before is gone.
  if (const auto before = connections_.find(socket); before != connections_.end()) Forget(before);
  if (!HasRoom(peer)) ForgetClosed();
  if (!HasRoom(peer)) {
    const bool server = std::ssize(connections_) >= limits_.total;
    ++(server ? counts_.refused_server : counts_.refused_address);
    return false;
  }
  connections_.emplace(socket, Connection{.inode = InodeOf(socket), .peer = peer});
  ++peers_[peer];
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
  const auto peer = peers_.find(connection->second.peer);
  if (--peer->second == 0) peers_.erase(peer);
  return connections_.erase(connection);
}

bool ConnectionTable::HasRoom(const std::string& peer) const {
  if (std::ssize(connections_) >= limits_.total) return false;
  const auto known = peers_.find(peer);
  // Unix sockets have no address.
  return peer.empty() || known == peers_.end() || known->second < limits_.per_address;
}

}  // namespace fmaserver::net
