// One Import call: a blob that arrives in messages becomes a session.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/services.h"
#include "server/sessions/session_import.h"

namespace fmaserver::rpc {

/// Frees itself. A message is read only when the one before it was taken in, so that a fast sender
/// waits and one message at a time is in memory.
class ImportCall final : public grpc::ServerReadReactor<grpc::ByteBuffer> {
 public:
  /// Returns the reactor for gRPC; the answer will be put into `response`.
  static ImportCall* Start(const Services& services, std::shared_ptr<Call> call,
                           grpc::ByteBuffer& response);

  void OnReadDone(bool ok) override;
  void OnDone() override { delete this; }

 private:
  ImportCall(const Services& services, std::shared_ptr<Call> call, grpc::ByteBuffer& response)
      : services_(services), call_(std::move(call)), response_(response) {}

  absl::Status Take();
  absl::Status Complete();

  void End(const absl::Status& status);

  const Services services_;
  const std::shared_ptr<Call> call_;
  grpc::ByteBuffer& response_;
  grpc::ByteBuffer message_;
  std::unique_ptr<sessions::SessionImport> import_;  // from the first message on
};

}  // namespace fmaserver::rpc
