#include "server/tracing/collector.h"

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <chrono>

#include "proto/retry_delay.h"

namespace fmaserver::tracing {
namespace {

std::shared_ptr<grpc::Channel> Connect(const TracingPlan& plan) {
  grpc::ChannelArguments arguments;
  // A collector that comes back is noticed within seconds, and not within gRPC's two minutes.
  constexpr int kReconnectMs = 5000;
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMs);
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = plan.ca_pem;
  return grpc::CreateCustomChannel(
      plan.endpoint.target,
      plan.endpoint.tls ? grpc::SslCredentials(tls) : grpc::InsecureChannelCredentials(),
      arguments);
}

/// As OTLP's specification lists the codes.
ExportOutcome Failure(const grpc::Status& status) {
  ExportOutcome outcome{.status = absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                                               status.error_message())};
  const std::optional<double> delay = RetryDelayIn(status.error_details());
  outcome.retry_after_seconds = delay.value_or(0);
  switch (status.error_code()) {
    case grpc::CANCELLED:
    case grpc::DEADLINE_EXCEEDED:
    case grpc::ABORTED:
    case grpc::OUT_OF_RANGE:
    case grpc::UNAVAILABLE:
    case grpc::DATA_LOSS:
      outcome.again = true;
      break;
    case grpc::RESOURCE_EXHAUSTED:
      outcome.again = delay.has_value();
      break;
    default:
      break;
  }
  return outcome;
}

}  // namespace

Collector::Collector(const TracingPlan& plan)
    : target_(plan.endpoint.target),
      headers_(plan.headers),
      stub_(otlp::TraceService::NewStub(Connect(plan))) {}

ExportOutcome Collector::Export(const otlp::ExportTraceServiceRequest& request,
                                Clock::time_point deadline) {
  grpc::ClientContext context;
  for (const auto& [name, value] : headers_) context.AddMetadata(name, value);
  context.set_deadline(
      std::chrono::system_clock::now() +
      std::chrono::duration_cast<std::chrono::system_clock::duration>(deadline - Clock::now()));
  {
    const std::lock_guard lock(mutex_);
    running_ = &context;
    if (cancelled_) context.TryCancel();
  }
  otlp::ExportTraceServiceResponse response;
  const grpc::Status status = stub_->Export(&context, request, &response);
  const std::lock_guard lock(mutex_);
  running_ = nullptr;
  if (!status.ok()) return Failure(status);
  return {.status = absl::OkStatus(),
          .rejected = response.partial_success().rejected_spans(),
          .message = response.partial_success().error_message()};
}

void Collector::Cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (running_ != nullptr) running_->TryCancel();
}

}  // namespace fmaserver::tracing
