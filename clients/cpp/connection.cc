#include "clients/cpp/connection.h"

#include <chrono>

namespace fmaserver {
namespace {

constexpr std::chrono::seconds kConnectTime(10);

void ReadFiles(ConnectionOptions& options) {
  auto pem = ReadTls(options.tls);
  if (!pem.ok()) throw CLI::ValidationError(std::string(pem.status().message()));
  options.pem = *std::move(pem);
}

}  // namespace

void AddConnectionOptions(CLI::App& command, ConnectionOptions& options) {
  command.add_option("--server", options.server, "Address of the server")
      ->type_name("HOST:PORT")
      ->envname("FMA_SERVER")
      ->capture_default_str();
  command.add_flag("--tls", options.tls.on, "Use TLS, with the system's authorities");
  const auto add_file = [&command](const char* name, std::string& file, const char* help) {
    command.add_option(name, file, help)->type_name("FILE")->check(CLI::ExistingFile);
  };
  add_file("--tls-ca", options.tls.ca, "Use TLS; authorities of the server's certificate, PEM");
  add_file("--tls-cert", options.tls.cert, "Use TLS; own certificate and its chain, PEM");
  add_file("--tls-key", options.tls.key, "Private key of --tls-cert, PEM");
  command.add_option("--token", options.token, "Bearer token; better given by FMA_TOKEN")
      ->type_name("TOKEN")
      ->envname("FMA_TOKEN");
  command.parse_complete_callback([&options] { ReadFiles(options); });
  command.add_flag("--json", options.json, "Print JSON lines for programs");
}

Connection::Connection(const ConnectionOptions& options)
    : options_(options),
      interrupt_([this] { CancelCall(); }),
      client_(options.server, MakeChannelCredentials(options.pem)) {}

grpc::ClientContext& Connection::NewContext() {
  const std::lock_guard lock(mutex_);
  context_ = std::make_unique<grpc::ClientContext>();
  if (!options_.token.empty()) {
    context_->AddMetadata("authorization", "Bearer " + options_.token);
  }
  if (interrupt_.Happened()) context_->TryCancel();
  return *context_;
}

void Connection::CancelCall() {
  const std::lock_guard lock(mutex_);
  if (context_ != nullptr) context_->TryCancel();
}

grpc::ClientContext& Connection::NewShortContext() {
  grpc::ClientContext& context = NewContext();
  context.set_deadline(std::chrono::system_clock::now() + kConnectTime);
  return context;
}

absl::StatusOr<v1::Model> Connection::GetModel() { return client_.GetModel(NewShortContext()); }

absl::StatusOr<bool> Connection::IsServing() { return client_.IsServing(NewShortContext()); }

ExitCode Connection::Report(const absl::Status& status) const {
  if (Interrupted()) return kInterrupted;
  if (status.ok()) return kDone;
  return ReportFailure(status, options_.server);
}

}  // namespace fmaserver
