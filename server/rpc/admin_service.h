// The Admin service: messages to calls of administrators and back.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "fma/v1/admin.grpc.pb.h"
#include "server/service/service.h"
#include "server/service/workers.h"

namespace fmaserver::rpc {

/// Admin with every method in raw bytes; see byte_buffer.h for why.
using RawAdminService = v1::Admin::WithRawCallbackMethod_LoadModel<
    v1::Admin::WithRawCallbackMethod_UnloadModel<v1::Admin::Service>>;

/// Thread-safe.
class AdminService final : public RawAdminService {
 public:
  /// `service` outlives the server that this is registered with.
  explicit AdminService(service::Service& service) : service_(service) {}

 private:
  using Context = grpc::CallbackServerContext;
  using Bytes = grpc::ByteBuffer;

  // One may load while another waits for the end of a model's requests.
  static constexpr int kThreads = 2;
  static constexpr int64_t kMaxWaitingBytes = int64_t{1} << 20;

  grpc::ServerUnaryReactor* LoadModel(Context* context, const Bytes* request,
                                      Bytes* response) override;
  grpc::ServerUnaryReactor* UnloadModel(Context* context, const Bytes* request,
                                        Bytes* response) override;

  service::Service& service_;
  service::Workers workers_{kThreads, kMaxWaitingBytes};
};

}  // namespace fmaserver::rpc
