// Ctrl-C ends what a program does, so that it can still print what it has.
#pragma once

#include <functional>
#include <mutex>
#include <thread>

namespace fmaserver::client {

/// While one exists, the first SIGINT, and the first after Forget(), runs `on_interrupt` on a
/// thread of its own; a second one ends the process at once. Create it before any gRPC object:
/// gRPC's threads must inherit the blocked signal.
class Interrupt {
 public:
  explicit Interrupt(std::function<void()> on_interrupt);
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool Happened() const;
  void Forget();

 private:
  void Wait();

  const std::function<void()> on_interrupt_;
  mutable std::mutex mutex_;
  bool happened_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace fmaserver::client
