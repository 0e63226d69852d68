// Ctrl-C ends the running call, so that the tool can still print what it has.
#pragma once

#include <grpcpp/client_context.h>

#include <memory>
#include <mutex>
#include <thread>

namespace fmaserver {

/// While one exists, SIGINT cancels the current call; a second SIGINT ends the process at once.
/// Create it before the client: gRPC's threads must inherit the blocked signal.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  /// A context for the next call, which replaces the one before; cancelled if SIGINT came already.
  grpc::ClientContext& NewContext();

  bool Happened() const;

 private:
  void Wait();

  mutable std::mutex mutex_;
  std::unique_ptr<grpc::ClientContext> context_;
  bool happened_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace fmaserver
