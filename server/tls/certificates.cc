#include "server/tls/certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <ctime>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/refusal.h"

namespace fmaserver::tls {
namespace {

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Freed<BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Context = std::unique_ptr<SSL_CTX, Freed<SSL_CTX_free>>;

Bio BytesOf(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

/// What OpenSSL says went wrong last, in its words.
std::string Reason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason == nullptr ? "unknown" : reason;
}

absl::Status Unusable(const std::string& place, const std::string& what, const char* allowed) {
  return Refusal(place, Words{what}, allowed);
}

/// In the place of a question at the terminal.
int RefusePassphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

absl::StatusOr<std::vector<Certificate>> ParseCertificates(const std::string& place,
                                                           const std::string& pem) {
  constexpr char kAllowed[] = "a PEM file with certificates";
  ERR_clear_error();
  const Bio bytes = BytesOf(pem);
  std::vector<Certificate> certificates;
  while (X509* next = PEM_read_bio_X509_AUX(bytes.get(), nullptr, nullptr, nullptr)) {
    certificates.emplace_back(next);
  }
  // That no other one begins is how a file ends well.
  const bool complete = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (!complete) return Unusable(place, absl::StrCat("damaged (", Reason(), ")"), kAllowed);
  ERR_clear_error();
  if (certificates.empty()) return Unusable(place, "without a certificate", kAllowed);
  return certificates;
}

absl::StatusOr<PrivateKey> ParseKey(const std::string& place, const std::string& pem) {
  constexpr char kAllowed[] = "a PEM file with the private key of tls-cert, without a passphrase";
  ERR_clear_error();
  const Bio bytes = BytesOf(pem);
  bool passphrase = false;
  PrivateKey key(PEM_read_bio_PrivateKey(bytes.get(), nullptr, RefusePassphrase, &passphrase));
  if (passphrase) return Unusable(place, "a key with a passphrase", kAllowed);
  if (key == nullptr) return Unusable(place, absl::StrCat("no key (", Reason(), ")"), kAllowed);
  ERR_clear_error();
  return key;
}

absl::Time EndOf(const std::vector<Certificate>& certificates) {
  absl::Time end = absl::InfiniteFuture();
  for (const Certificate& certificate : certificates) {
    std::tm time{};
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &time) != 1) continue;
    end = std::min(end, absl::FromTimeT(timegm(&time)));
  }
  return end;
}

/// Whether a server could show these: OpenSSL has rules about them, such as a shortest key.
absl::Status CheckTogether(const TlsOptions& options, const std::vector<Certificate>& chain,
                           const PrivateKey& key) {
  const Context context(SSL_CTX_new(TLS_server_method()));
  const auto cert = [&] { return At("tls-cert", options.cert); };
  if (SSL_CTX_use_certificate(context.get(), chain.front().get()) != 1) {
    return Unusable(cert(), absl::StrCat("refused by OpenSSL (", Reason(), ")"), "another one");
  }
  for (size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context.get(), chain[i].get()) == 1) continue;
    return Unusable(cert(), absl::StrCat("refused by OpenSSL (", Reason(), ")"), "another chain");
  }
  if (SSL_CTX_use_PrivateKey(context.get(), key.get()) == 1) return absl::OkStatus();
  ERR_clear_error();
  return Unusable(At("tls-key", options.key), "the key of another certificate",
                  absl::StrCat("that of ", options.cert).c_str());
}

absl::StatusOr<std::string> ReadPem(std::string_view option, const std::string& file) {
  constexpr size_t kMaxBytes = size_t{1} << 20;
  auto pem = ReadWholeFile(file, kMaxBytes);
  if (!pem.ok()) return At(option, pem.status());
  return pem;
}

absl::Status ReadClientAuthorities(const std::string& file, Certificates& read) {
  auto pem = ReadPem("tls-client-ca", file);
  if (!pem.ok()) return pem.status();
  const auto authorities = ParseCertificates(At("tls-client-ca", file), *pem);
  if (!authorities.ok()) return authorities.status();
  read.client_ca = *std::move(pem);
  read.client_ca_end = EndOf(*authorities);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Certificates> ReadCertificates(const TlsOptions& options) {
  auto chain_pem = ReadPem("tls-cert", options.cert);
  if (!chain_pem.ok()) return chain_pem.status();
  auto key_pem = ReadPem("tls-key", options.key);
  if (!key_pem.ok()) return key_pem.status();
  const auto chain = ParseCertificates(At("tls-cert", options.cert), *chain_pem);
  if (!chain.ok()) return chain.status();
  const auto key = ParseKey(At("tls-key", options.key), *key_pem);
  if (!key.ok()) return key.status();
  if (absl::Status status = CheckTogether(options, *chain, *key); !status.ok()) return status;
  Certificates read;
  read.chain = *std::move(chain_pem);
  read.key = *std::move(key_pem);
  read.chain_end = EndOf(*chain);
  if (options.client_ca.empty()) return read;
  absl::Status status = ReadClientAuthorities(options.client_ca, read);
  if (!status.ok()) return status;
  return read;
}

}  // namespace fmaserver::tls
