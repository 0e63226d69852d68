// A collector of traces on the network, which speaks OTLP over gRPC.
#pragma once

#include <grpcpp/client_context.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "base/clock.h"
#include "opentelemetry/traces.grpc.pb.h"
#include "server/tracing/attributes.h"
#include "server/tracing/tracing_options.h"

namespace fmaserver::tracing {

/// How an export ended.
struct ExportOutcome {
  absl::Status status;
  bool again = false;              ///< of a failure: the same spans may be taken later
  double retry_after_seconds = 0;  ///< not before
  int64_t rejected = 0;            ///< of a success: spans that the collector did not want
  std::string message = {};        ///< and why
};

/// One thread at a time, but for Cancel.
class Collector {
 public:
  explicit Collector(const TracingPlan& plan);

  const std::string& target() const { return target_; }

  /// Returns by `deadline`, or soon after Cancel.
  ExportOutcome Export(const otlp::ExportTraceServiceRequest& request, Clock::time_point deadline);

  /// Ends the export that runs, and those to come.
  void Cancel();

 private:
  const std::string target_;
  const Pairs headers_;
  const std::unique_ptr<otlp::TraceService::Stub> stub_;
  std::mutex mutex_;
  grpc::ClientContext* running_ = nullptr;  // guarded by mutex_, as is the next
  bool cancelled_ = false;
};

}  // namespace fmaserver::tracing
