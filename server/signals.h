// The signals that end a server, from its first moment to its last.
#pragma once

#include <pthread.h>

#include <csignal>
#include <functional>
#include <thread>

namespace fmaserver {

/// Blocks the signals that a server waits for, in this thread and all that it starts: call it
/// before the first of them. Returns the set for sigtimedwait().
sigset_t BlockSignals();

/// Runs `end` on a thread of its own when SIGTERM or SIGINT comes while this exists. For the time
/// in which the main thread loads and cannot look at signals itself; none is lost in between.
class StartInterrupt {
 public:
  explicit StartInterrupt(std::function<void(int signal)> end);
  ~StartInterrupt();
  StartInterrupt(const StartInterrupt&) = delete;
  StartInterrupt& operator=(const StartInterrupt&) = delete;

 private:
  std::thread thread_;
};

/// From now on SIGTERM and SIGINT end the process at once, by their ordinary effect. The kernel
/// spares process 1 of a container that, which ends with the exit code 128 + signal instead.
void LetSignalsEndTheProcess();

}  // namespace fmaserver
