#include "clients/cpp/credentials.h"

#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace fmaserver::client {
namespace {

absl::Status ReadPem(const char* option, const std::string& file, std::string& pem) {
  if (file.empty()) return absl::OkStatus();
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  pem = std::move(text).str();
  if (stream.is_open() && !pem.empty()) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(option, ": cannot read \"", file, "\""));
}

}  // namespace

absl::StatusOr<std::optional<grpc::SslCredentialsOptions>> ReadTls(const ClientTls& tls) {
  if (!tls.on && tls.ca.empty() && tls.cert.empty() && tls.key.empty()) return std::nullopt;
  if (tls.cert.empty() != tls.key.empty()) {
    return absl::InvalidArgumentError(
        "tls-cert, tls-key: found one without the other; allowed: both or none");
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
