// A fiber that runs one job after another: a thread of an emulated block. It tells the sanitizers
// about every switch of stacks.
#pragma once

#include <cstddef>
#include <functional>

#include "boost/context/fiber.hpp"

namespace fmaserver::kernels::cuda::emulator {

class Fiber {
 public:
  Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Sets the job of the next Resume(); the job before must have ended. Does not own it.
  void Start(const std::function<void()>* job) {
    job_ = job;
    done_ = false;
  }

  /// Runs the job until it yields or ends.
  void Resume();

  /// Called inside the job: returns to the caller of Resume().
  void Yield();

  bool done() const { return done_; }

 private:
  void Run();

  boost::context::fiber inside_;   // where to go on in the job, while outside
  boost::context::fiber outside_;  // where to go on in Resume(), while inside
  const std::function<void()>* job_ = nullptr;
  bool done_ = true;

  // What the sanitizers need to know about the two stacks.
  void* inside_fake_stack_ = nullptr;
  void* outside_fake_stack_ = nullptr;
  const void* stack_bottom_ = nullptr;
  size_t stack_size_ = 0;
  const void* outside_bottom_ = nullptr;
  size_t outside_size_ = 0;
  void* inside_tsan_ = nullptr;
  void* outside_tsan_ = nullptr;
};

}  // namespace fmaserver::kernels::cuda::emulator
