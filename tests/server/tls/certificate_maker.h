// Self-signed certificates and keys, as PEM.
#pragma once

#include <string>

namespace fmaserver::testing {

struct MadeCertificate {
  std::string certificate;
  std::string key;
};

/// A certificate that ends `seconds` from now, and its key: an EC key on the curve `curve`.
MadeCertificate MakeCertificate(long seconds, const char* curve = "P-256");

/// `made.key` with the passphrase "secret", as PKCS#8.
std::string WithPassphrase(const MadeCertificate& made);

}  // namespace fmaserver::testing
