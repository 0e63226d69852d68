#include "clients/cpp/credentials.h"

#include <string>
#include <utility>

#include "base/file.h"
#include "base/refusal.h"

namespace fmaserver::client {
namespace {

absl::Status ReadPem(const char* option, const std::string& file, std::string& pem) {
  if (file.empty()) return absl::OkStatus();
  constexpr size_t kMaxPemBytes = size_t{1} << 20;
  absl::StatusOr<std::string> text = ReadWholeFile(file, kMaxPemBytes);
  if (!text.ok()) return At(option, text.status());
  if (text->empty()) return Refusal(At(option, file), Words{"empty"}, "a PEM file");
  pem = *std::move(text);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::optional<grpc::SslCredentialsOptions>> ReadTls(const ClientTls& tls) {
  if (!tls.on && tls.ca.empty() && tls.cert.empty() && tls.key.empty()) return std::nullopt;
  if (tls.cert.empty() != tls.key.empty()) {
    return Refusal(tls.cert.empty() ? "tls-cert" : "tls-key", Words{"missing"},
                   "tls-cert and tls-key, or neither");
  }
  grpc::SslCredentialsOptions options;
  absl::Status status = ReadPem("tls-ca", tls.ca, options.pem_root_certs);
  status.Update(ReadPem("tls-cert", tls.cert, options.pem_cert_chain));
  status.Update(ReadPem("tls-key", tls.key, options.pem_private_key));
  if (!status.ok()) return status;
  return options;
}

std::shared_ptr<grpc::ChannelCredentials> MakeChannelCredentials(
    const std::optional<grpc::SslCredentialsOptions>& tls) {
  return tls.has_value() ? grpc::SslCredentials(*tls) : grpc::InsecureChannelCredentials();
}

}  // namespace fmaserver::client
