#include "server/tls/certificate_watch.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/memory/memory.h"

namespace fmaserver::tls {
namespace {

std::string TimeOf(absl::Time time) { return absl::FormatTime(time, absl::UTCTimeZone()); }

}  // namespace

absl::StatusOr<std::shared_ptr<CertificateWatch>> CertificateWatch::Start(TlsOptions options) {
  auto first = ReadCertificates(options);
  if (!first.ok()) return first.status();
  spdlog::info("the certificate ends {}", TimeOf(first->chain_end));
  return std::shared_ptr<CertificateWatch>(
      new CertificateWatch(std::move(options), *std::move(first)));
}

CertificateWatch::CertificateWatch(TlsOptions options, Certificates first)
    : options_(std::move(options)),
      current_(std::make_shared<const Certificates>(std::move(first))),
      thread_([this] { Run(); }) {}

CertificateWatch::~CertificateWatch() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopping_.notify_all();
  thread_.join();
}

std::shared_ptr<const Certificates> CertificateWatch::current() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

void CertificateWatch::Look() {
  const std::lock_guard look(look_mutex_);
  auto read = ReadCertificates(options_);
  if (!read.ok()) {
    std::string why(read.status().message());
    if (why != trouble_) spdlog::error("the certificate in use stays, its renewal fails: {}", why);
    trouble_ = std::move(why);
    return;
  }
  const bool recovered = !std::exchange(trouble_, {}).empty();
  if (*read != *current()) {
    const auto renewed = std::make_shared<const Certificates>(*std::move(read));
    {
      const std::lock_guard lock(mutex_);
      current_ = renewed;
    }
    spdlog::info("the certificate is renewed and ends {}", TimeOf(renewed->chain_end));
  } else if (recovered) {
    spdlog::info("the certificate's files are those in use again");
  }
}

void CertificateWatch::Run() {
  std::unique_lock lock(mutex_);
  while (!stopping_.wait_for(lock, kPause, [this] { return stop_; })) {
    lock.unlock();
    Look();
    lock.lock();
  }
}

}  // namespace fmaserver::tls
