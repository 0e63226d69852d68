#include "clients/cpp/interrupt.h"

#include <unistd.h>

#include <csignal>
#include <utility>

#include "clients/cpp/output.h"

namespace fmaserver::client {
namespace {

sigset_t InterruptSet() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

Interrupt::Interrupt(std::function<void()> on_interrupt) : on_interrupt_(std::move(on_interrupt)) {
  const sigset_t set = InterruptSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread([this] { Wait(); });
}

Interrupt::~Interrupt() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  // Wakes sigwait(), which has no other way out.
  pthread_kill(thread_.native_handle(), SIGINT);
  thread_.join();
}

bool Interrupt::Happened() const {
  const std::lock_guard lock(mutex_);
  return happened_;
}

void Interrupt::Forget() {
  const std::lock_guard lock(mutex_);
  happened_ = false;
}

void Interrupt::Wait() {
  const sigset_t set = InterruptSet();
  while (true) {
    int signal = 0;
    sigwait(&set, &signal);
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      if (happened_) _exit(kInterrupted);
      happened_ = true;
    }
    on_interrupt_();
  }
}

}  // namespace fmaserver::client
