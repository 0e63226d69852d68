// vllm.Control: what the server is, and the end of requests.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <string>
#include <utility>

#include "base/id.h"
#include "server/service/service.h"
#include "server/vllm/live_requests.h"
#include "vllm/control.grpc.pb.h"

namespace fmaserver::vllm {

/// Every method in raw bytes; see rpc/byte_buffer.h for why.
using RawControlService = ::vllm::Control::WithRawCallbackMethod_GetServerInfo<
    ::vllm::Control::WithRawCallbackMethod_GetModelInfo<
        ::vllm::Control::WithRawCallbackMethod_Abort<::vllm::Control::Service>>>;

/// Thread-safe.
class ControlService final : public RawControlService {
 public:
  /// `service` outlives the server that this is registered with.
  ControlService(service::Service& service, std::shared_ptr<LiveRequests> live)
      : service_(service), live_(std::move(live)) {}

 private:
  using Context = grpc::CallbackServerContext;
  using Bytes = grpc::ByteBuffer;

  grpc::ServerUnaryReactor* GetServerInfo(Context* context, const Bytes* request,
                                          Bytes* response) override;
  grpc::ServerUnaryReactor* GetModelInfo(Context* context, const Bytes* request,
                                         Bytes* response) override;
  grpc::ServerUnaryReactor* Abort(Context* context, const Bytes* request, Bytes* response) override;

  service::Service& service_;
  const std::shared_ptr<LiveRequests> live_;
  const std::string instance_id_ = RandomId();
};

}  // namespace fmaserver::vllm
