// One Export call: a session's blob, piece by piece as the client reads it.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "server/rpc/services.h"
#include "server/sessions/session_export.h"

namespace fmaserver::rpc {

/// Frees itself. Each step, on a worker's thread, starts the next only when it is over, so that one
/// thread at a time is at work and one piece at a time in memory.
class ExportCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  /// Parses `request` and returns the reactor for gRPC.
  static ExportCall* Start(const Services& services, std::shared_ptr<Call> call,
                           const grpc::ByteBuffer& request);

  void OnWriteDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  ExportCall(const Services& services, std::shared_ptr<Call> call)
      : services_(services), call_(std::move(call)) {}

  absl::Status Open(const grpc::ByteBuffer& request);
  void WriteNext();

  void End(const absl::Status& status);

  const Services services_;
  const std::shared_ptr<Call> call_;
  std::unique_ptr<sessions::SessionExport> blob_;
  grpc::ByteBuffer in_flight_;
};

}  // namespace fmaserver::rpc
