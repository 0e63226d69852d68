// The one thread on which the door's connections and answers live, and its timers.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

namespace boost::asio {
class io_context;
}

namespace fmaserver::openai {

/// Everything that happens to a connection or an answer happens on this thread, one thing after the
/// other, so that neither has a lock. Nothing on it may wait.
class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// Any thread. Runs `task` on the loop's, later.
  void Post(std::function<void()> task);

  /// Does what was posted before, then ends the thread.
  void Stop();

  boost::asio::io_context& context() { return *context_; }

 private:
  struct KeepsRunning;

  const std::unique_ptr<boost::asio::io_context> context_;
  std::unique_ptr<KeepsRunning> keeps_running_;
  std::thread thread_;
};

/// Rings once. Only on the loop's thread.
class Timer {
 public:
  explicit Timer(Loop& loop);
  /// Never rings after this.
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  /// Calls `ring` after this time, unless it is set anew, cleared or destroyed before.
  void Set(std::chrono::milliseconds after, std::function<void()> ring);
  void Clear();

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace fmaserver::openai
