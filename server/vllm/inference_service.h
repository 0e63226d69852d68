// vllm.Inference.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <utility>

#include "server/service/service.h"
#include "server/vllm/live_requests.h"
#include "vllm/inference.grpc.pb.h"

namespace fmaserver::vllm {

/// In raw bytes; see rpc/byte_buffer.h for why. Thread-safe.
class InferenceService final
    : public ::vllm::Inference::WithRawCallbackMethod_GenerateStream<::vllm::Inference::Service> {
 public:
  /// `service` outlives the server that this is registered with.
  InferenceService(service::Service& service, std::shared_ptr<LiveRequests> live)
      : service_(service), live_(std::move(live)) {}

 private:
  grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerateStream(
      grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) override;

  service::Service& service_;
  const std::shared_ptr<LiveRequests> live_;
};

}  // namespace fmaserver::vllm
