#include "server/shutdown.h"

#include <malloc.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "server/log/log.h"
#include "server/signals.h"

namespace fmaserver {
namespace {

bool DeviceFailed(const models::ModelRegistry& models) {
  return std::ranges::any_of(
      models.List(), [](const models::ModelPtr& model) { return model->runner().DeviceFailed(); });
}

void ReloadTokens(const access::Accesses& accesses) {
  const absl::Status status = accesses.Reload();
  if (status.ok()) {
    spdlog::info("tokens read again");
  } else {
    spdlog::error("the tokens that cannot be read stay as they were: {}",
                  std::string(status.message()));
  }
}

/// After very many connections the allocator keeps hundreds of MiB of free memory. Returns it to
/// the system when there is more than last time.
void ReturnFreeMemory() {
  constexpr size_t kWorthwhile = size_t{32} << 20;
  static size_t free_before = 0;
  const size_t free_bytes = mallinfo2().fordblks;
  if (free_bytes > free_before + kWorthwhile) {
    malloc_trim(0);
    free_before = mallinfo2().fordblks;
  }
  free_before = std::min(free_before, free_bytes);
}

/// What is already written of a stream gets this long to reach its reader.
constexpr std::chrono::seconds kFlushTime(2);

/// While the result lives: ends the process with `code` when a model loads after kFlushTime. What
/// an administrator asked for cannot be stopped, may take minutes, and nobody waits for it.
std::jthread EndBesideLoads(const ModelLoader& loader, int code) {
  return std::jthread([&loader, code](const std::stop_token& stop) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any().wait_for(lock, stop, kFlushTime, [] { return false; });
    if (stop.stop_requested() || loader.progress().IsEmpty()) return;
    spdlog::warn("a model still loads: the server ends without it");
    log::CloseLog(kLogPatience);
    std::_Exit(code);
  });
}

void Drain(const WhatEnds& what, double seconds) {
  spdlog::info("draining: running requests get {} s", seconds);
  what.server.SetServing(false);
  if (what.openai != nullptr) what.openai->Drain();
  what.pages.Drain();
  what.models.Drain(absl::Seconds(seconds));
  const std::jthread beside_loads =
      EndBesideLoads(what.loader, DeviceFailed(what.models) ? EXIT_FAILURE : EXIT_SUCCESS);
  if (what.openai != nullptr) what.openai->Shutdown(absl::FromChrono(kFlushTime));
  what.server.Shutdown(absl::FromChrono(kFlushTime));
  spdlog::info("stopped");
}

}  // namespace

void EndWhileLoading(int signal) {
  spdlog::info("{} received before the server listened: it ends", sigabbrev_np(signal));
  log::CloseLog(kLogPatience);
  std::_Exit(EXIT_SUCCESS);
}

void WaitForTermination(const sigset_t& signals, const access::Accesses& accesses,
                        const models::ModelRegistry& models) {
  constexpr timespec kHousekeeping{.tv_sec = 5, .tv_nsec = 0};
  int signal = 0;
  while (signal != SIGTERM && signal != SIGINT) {
    signal = sigtimedwait(&signals, nullptr, &kHousekeeping);
    if (DeviceFailed(models)) return;
    if (signal < 0) ReturnFreeMemory();
    if (signal == SIGHUP) ReloadTokens(accesses);
    if (signal == SIGUSR1) log::ShiftLogLevel(+1);
    if (signal == SIGUSR2) log::ShiftLogLevel(-1);
  }
  spdlog::info("{} received", sigabbrev_np(signal));
  LetSignalsEndTheProcess();
}

absl::Status Shutdown(const WhatEnds& what, double drain_seconds) {
  Drain(what, DeviceFailed(what.models) ? 0 : drain_seconds);
  if (!DeviceFailed(what.models)) return absl::OkStatus();
  return absl::UnavailableError("the device failed; the server has to start again");
}

}  // namespace fmaserver
