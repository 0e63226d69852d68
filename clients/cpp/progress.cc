#include "clients/cpp/progress.h"

#include <unistd.h>

#include <cstdio>
#include <string>

#include "absl/strings/str_format.h"
#include "clients/cpp/output.h"

namespace fmaserver::client {
namespace {

constexpr uint64_t kWidth = 30;
constexpr char kEraseLine[] = "\r\033[K";

}  // namespace

ProgressBar::ProgressBar()
    : enabled_(isatty(STDERR_FILENO) != 0), start_(std::chrono::steady_clock::now()) {}

void ProgressBar::Show(uint64_t done, uint64_t total) {
  if (!enabled_ || total == 0) return;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const uint64_t filled = kWidth * done / total;
  absl::FPrintF(stderr, "%sreading prompt [%s%s] %s / %s tokens, %s tok/s", kEraseLine,
                std::string(filled, '#'), std::string(kWidth - filled, '.'), WithCommas(done),
                WithCommas(total), HumanRate(static_cast<double>(done) / elapsed.count()));
  std::fflush(stderr);
  shown_ = true;
}

void ProgressBar::Clear() {
  if (!shown_) return;
  std::fputs(kEraseLine, stderr);
  std::fflush(stderr);
  shown_ = false;
}

}  // namespace fmaserver::client
