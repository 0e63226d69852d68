// A ModelInfer call: one answer with the whole text.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>

#include "server/kserve/answers.h"
#include "server/rpc/deadline.h"
#include "server/service/generation.h"
#include "server/service/service.h"

namespace fmaserver::kserve {

/// The wire of its call; owned as rpc::StreamReactor is.
class InferReactor final : public grpc::ServerUnaryReactor,
                           public service::EventWire<service::GenerateEvent> {
 public:
  /// Hands gRPC a reactor that answers `request` in `response`; both outlive it.
  static InferReactor* Open(service::Service& service, grpc::CallbackServerContext& context,
                            const grpc::ByteBuffer& request, grpc::ByteBuffer& response);

  /// Only the end is written.
  bool Write(const service::GenerateEvent& event) override;
  void Finish(const absl::Status& status) override;

  void OnCancel() override { call_->OnCancel(deadline_.WhyCancelled()); }
  void OnDone() override { const auto last = std::move(call_); }

 private:
  InferReactor(const grpc::CallbackServerContext& context, grpc::ByteBuffer& response)
      : deadline_(context.deadline()), response_(response) {}

  const rpc::Deadline deadline_;
  grpc::ByteBuffer& response_;
  Answers answers_;
  std::shared_ptr<service::Generation> call_;
};

}  // namespace fmaserver::kserve
