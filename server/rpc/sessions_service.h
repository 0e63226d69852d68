// The Sessions service: messages to calls of the service and back.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "fma/v1/sessions.grpc.pb.h"
#include "server/service/service.h"

namespace fmaserver::rpc {

/// Sessions with every method in raw bytes; see byte_buffer.h for why.
using RawSessionsService = v1::Sessions::WithRawCallbackMethod_Create<
    v1::Sessions::WithRawCallbackMethod_Get<v1::Sessions::WithRawCallbackMethod_List<
        v1::Sessions::WithRawCallbackMethod_Update<v1::Sessions::WithRawCallbackMethod_Fork<
            v1::Sessions::WithRawCallbackMethod_Rewind<v1::Sessions::WithRawCallbackMethod_Delete<
                v1::Sessions::WithRawCallbackMethod_Export<
                    v1::Sessions::WithRawCallbackMethod_Import<v1::Sessions::Service>>>>>>>>>;

/// Thread-safe and without state of its own.
class SessionsService final : public RawSessionsService {
 public:
  /// `service` outlives the server that this is registered with.
  explicit SessionsService(service::Service& service) : service_(service) {}

 private:
  using Context = grpc::CallbackServerContext;
  using Bytes = grpc::ByteBuffer;
  using Unary = grpc::ServerUnaryReactor;

  Unary* Create(Context* context, const Bytes* request, Bytes* response) override;
  Unary* Get(Context* context, const Bytes* request, Bytes* response) override;
  Unary* List(Context* context, const Bytes* request, Bytes* response) override;
  Unary* Update(Context* context, const Bytes* request, Bytes* response) override;
  Unary* Fork(Context* context, const Bytes* request, Bytes* response) override;
  Unary* Rewind(Context* context, const Bytes* request, Bytes* response) override;
  Unary* Delete(Context* context, const Bytes* request, Bytes* response) override;
  grpc::ServerWriteReactor<Bytes>* Export(Context* context, const Bytes* request) override;
  grpc::ServerReadReactor<Bytes>* Import(Context* context, Bytes* response) override;

  service::Service& service_;
};

}  // namespace fmaserver::rpc
