// Accepts connections within limits, whatever becomes of the process's descriptors.
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "base/file_descriptor.h"
#include "server/net/connection_table.h"
#include "server/net/listener.h"

namespace fmaserver::net {

/// A thread of its own takes what comes to the listening sockets. Whoever is over a limit is
/// disconnected at once, and so is everybody while no descriptor is left: one is kept in reserve
/// for that. Destruction closes the listening sockets; connections are not its own.
class Acceptor {
 public:
  /// Takes a connected, non-blocking socket over. On the acceptor's thread.
  using Serve = std::function<void(FileDescriptor socket)>;

  /// RESOURCE_EXHAUSTED when there is no descriptor for it.
  static absl::StatusOr<std::unique_ptr<Acceptor>> Start(Listener listener,
                                                         std::shared_ptr<ConnectionTable> table,
                                                         Serve serve);
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

 private:
  Acceptor(Listener listener, std::shared_ptr<ConnectionTable> table, Serve serve,
           FileDescriptor stop, FileDescriptor reserve);

  // The acceptor's thread.
  void Run();
  void AcceptSome(int listening);
  bool OnFailure(int listening, int error);

  const Listener listener_;
  const std::shared_ptr<ConnectionTable> table_;
  const Serve serve_;
  const FileDescriptor stop_;  // an eventfd: readable when the thread shall end
  FileDescriptor reserve_;     // given up for a moment, to accept and close when none is left
  bool resting_ = false;       // after a failure that would come again at once
  std::thread thread_;
};

}  // namespace fmaserver::net
