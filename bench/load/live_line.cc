#include "bench/load/live_line.h"

#include <unistd.h>

#include <cstdio>

#include "absl/strings/str_format.h"
#include "clients/cpp/output.h"

namespace fmaserver::bench {
namespace {

constexpr double kDrawSeconds = 0.5;

}  // namespace

LiveLine::LiveLine(const LiveCounts& live) : live_(live) {
  if (isatty(STDERR_FILENO) != 0) thread_ = std::thread([this] { Draw(); });
}

LiveLine::~LiveLine() {
  if (!thread_.joinable()) return;
  stop_.Cancel();
  thread_.join();
  std::fputs("\r\033[K", stderr);
}

void LiveLine::Draw() {
  const double begin = NowSeconds();
  double next = begin;
  uint64_t tokens_before = 0;
  while (stop_.SleepUntil(next += kDrawSeconds)) {
    const uint64_t tokens = live_.generated_tokens;
    absl::FPrintF(stderr, "\r\033[K%.1f s  %d running  %s done  %s failed  %s tokens/s",
                  NowSeconds() - begin, live_.running.load(), client::WithCommas(live_.done),
                  client::WithCommas(live_.failed),
                  client::HumanRate(static_cast<double>(tokens - tokens_before) / kDrawSeconds));
    tokens_before = tokens;
  }
}

}  // namespace fmaserver::bench
