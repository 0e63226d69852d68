// The certificates in use, renewed when their files are.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "server/tls/certificates.h"

namespace fmaserver::tls {

/// Looks at the files every kPause on a thread of its own. What does not fit, such as a certificate
/// whose key is yet to come, changes nothing but the log, which has one line for each change of
/// condition. Thread-safe.
class CertificateWatch {
 public:
  static constexpr std::chrono::seconds kPause{5};

  /// Errors as of ReadCertificates.
  static absl::StatusOr<std::shared_ptr<CertificateWatch>> Start(TlsOptions options);
  ~CertificateWatch();
  CertificateWatch(const CertificateWatch&) = delete;
  CertificateWatch& operator=(const CertificateWatch&) = delete;

  /// The newest ones that fit; the same object until they are renewed.
  std::shared_ptr<const Certificates> current() const;

  /// Looks at the files now.
  void Look();

 private:
  CertificateWatch(TlsOptions options, Certificates first);

  void Run();

  const TlsOptions options_;
  std::mutex look_mutex_;
  std::string trouble_;  // why the files do not fit; guarded by look_mutex_

  mutable std::mutex mutex_;
  std::condition_variable stopping_;
  bool stop_ = false;  // guarded by mutex_, as is the next
  std::shared_ptr<const Certificates> current_;
  std::thread thread_;
};

}  // namespace fmaserver::tls
