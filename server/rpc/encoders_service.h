// The Encoders service: messages to calls of the service and back.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "fma/v1/encoders.grpc.pb.h"
#include "server/service/service.h"

namespace fmaserver::rpc {

/// Encoders with every method in raw bytes; see byte_buffer.h for why.
using RawEncodersService = v1::Encoders::WithRawCallbackMethod_Embed<
    v1::Encoders::WithRawCallbackMethod_FillMask<v1::Encoders::Service>>;

/// Thread-safe and without state of its own.
class EncodersService final : public RawEncodersService {
 public:
  /// `service` outlives the server that this is registered with.
  explicit EncodersService(service::Service& service) : service_(service) {}

 private:
  using Context = grpc::CallbackServerContext;
  using Bytes = grpc::ByteBuffer;

  grpc::ServerWriteReactor<Bytes>* Embed(Context* context, const Bytes* request) override;
  grpc::ServerWriteReactor<Bytes>* FillMask(Context* context, const Bytes* request) override;

  service::Service& service_;
};

}  // namespace fmaserver::rpc
