#include "clients/cpp/connection.h"

#include <chrono>

namespace fmaserver::client {
namespace {

constexpr std::chrono::seconds kConnectTime(10);

}  // namespace

void AddConnectionOptions(CLI::App& command, ConnectionOptions& options) {
  AddServerOptions(command, options);
  command.add_flag("--json", options.json, "Print JSON lines for programs");
}

Connection::Connection(const ConnectionOptions& options)
    : options_(options), interrupt_([this] { CancelCall(); }), client_(MakeClient(options)) {}

grpc::ClientContext& Connection::NewContext() {
  const std::lock_guard lock(mutex_);
  context_ = std::make_unique<grpc::ClientContext>();
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

absl::StatusOr<v1::Model> Connection::GetModel() {
  return client_.GetModel(NewShortContext(), NewRequest<v1::GetModelRequest>());
}

absl::StatusOr<v1::ListModelsResponse> Connection::ListModels() {
  return client_.ListModels(NewShortContext());
}

absl::StatusOr<bool> Connection::IsServing() { return client_.IsServing(NewShortContext()); }

ExitCode Connection::Report(const absl::Status& status) const {
  if (Interrupted()) return kInterrupted;
  if (status.ok()) return kDone;
  return ReportFailure(status, options_.server);
}

}  // namespace fmaserver::client
