// How many connections there are, and how many more may come.
//
// Whoever serves a connection closes it without a word (gRPC does), and watching a socket for its
// end would take a second descriptor for each. So the table asks the kernel, when it matters,
// whether a descriptor still is the socket that it was: one short system call for each connection.
// It asks when the table seems full and when somebody wants the number, and seldom enough that this
// takes a twentieth of a core at most.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/clock.h"

namespace fmaserver::net {

struct ConnectionLimits {
  int total = 1;        ///< at least 1
  int per_address = 1;  ///< at least 1; of one IPv4 address, or of one /64 of IPv6 addresses
};

/// Since the start, but for `open`.
struct ConnectionCounts {
  int64_t open = 0;
  int64_t accepted = 0;
  int64_t refused_server = 0;       ///< as many were open as may be
  int64_t refused_address = 0;      ///< the same of their address
  int64_t refused_descriptors = 0;  ///< the process had no descriptor left
  bool full = false;                ///< the next one would be refused, whoever it is
};

/// Thread-safe.
class ConnectionTable {
 public:
  explicit ConnectionTable(ConnectionLimits limits, Now now = Clock::now)
      : limits_(limits), now_(std::move(now)) {}

  /// Whether `socket`, which was just accepted, may stay. If so it counts until it is closed.
  bool Add(int socket);

  /// A connection had to be closed, because no descriptor was left for it.
  void CountLackOfDescriptors();

  ConnectionCounts Counts();

 private:
  struct Connection {
    ino_t inode = 0;  // which socket it is, however often its number is used again
    std::string host;
  };
  using Connections = std::unordered_map<int, Connection>;  // by descriptor

  void ForgetClosed();
  Connections::iterator Forget(Connections::iterator connection);
  bool MayAdd(const std::string& host) const;

  const ConnectionLimits limits_;
  const Now now_;
  std::mutex mutex_;  // guards what follows
  Connections connections_;
  std::unordered_map<std::string, int> hosts_;  // connections of each
  ConnectionCounts counts_;
  Clock::time_point next_look_;
};

}  // namespace fmaserver::net
