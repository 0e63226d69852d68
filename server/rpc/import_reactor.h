// The client stream of an Import call.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>

#include "absl/status/statusor.h"
#include "server/rpc/deadline.h"
#include "server/service/transfer.h"

namespace fmaserver::rpc {

/// The wire of its call; owned as StreamReactor is.
class ImportReactor final : public grpc::ServerReadReactor<grpc::ByteBuffer>,
                            public service::ImportWire {
 public:
  /// Returns the reactor for gRPC; the answer will be put into `response`.
  static ImportReactor* Open(service::Service& service, grpc::CallbackServerContext& context,
                             grpc::ByteBuffer& response);

  void Read() override { StartRead(&message_); }
  void Finish(const absl::StatusOr<sessions::SessionInfo>& session) override;

  void OnReadDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { const auto last = std::move(call_); }

 private:
  ImportReactor(const grpc::CallbackServerContext& context, size_t max_bytes,
                grpc::ByteBuffer& response)
      : context_(context),
        deadline_(context.deadline()),
        max_bytes_(max_bytes),
        response_(response) {}

  const grpc::CallbackServerContext& context_;
  const Deadline deadline_;
  const size_t max_bytes_;  // of a message
  grpc::ByteBuffer& response_;
  std::shared_ptr<service::Importing> call_;
  grpc::ByteBuffer message_;
};

}  // namespace fmaserver::rpc
