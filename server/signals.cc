#include "server/signals.h"

#include <unistd.h>

#include <initializer_list>
#include <utility>

namespace fmaserver {
namespace {

/// Ends a StartInterrupt's wait. No signal that anybody sends, so that none is mistaken for it.
int WakeSignal() { return SIGRTMIN; }

sigset_t SetOf(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  return set;
}

void EndBy(int signal) {
  // Its ordinary effect is in force again (SA_RESETHAND), and not held back (SA_NODEFER).
  raise(signal);
  constexpr int kEndedBySignal = 128;
  _exit(kEndedBySignal + signal);
}

}  // namespace

sigset_t BlockSignals() {
  const sigset_t wake = SetOf({WakeSignal()});
  pthread_sigmask(SIG_BLOCK, &wake, nullptr);
  const sigset_t signals = SetOf({SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2});
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

StartInterrupt::StartInterrupt(std::function<void(int signal)> end)
    : thread_([end = std::move(end)] {
        const sigset_t signals = SetOf({SIGTERM, SIGINT, WakeSignal()});
        int signal = 0;
        sigwait(&signals, &signal);
        if (signal != WakeSignal()) end(signal);
      }) {}

StartInterrupt::~StartInterrupt() {
  pthread_kill(thread_.native_handle(), WakeSignal());
  thread_.join();
}

void LetSignalsEndTheProcess() {
  struct sigaction action = {};
  action.sa_handler = EndBy;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
  for (const int signal : {SIGTERM, SIGINT}) sigaction(signal, &action, nullptr);
  const sigset_t signals = SetOf({SIGTERM, SIGINT});
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

}  // namespace fmaserver
