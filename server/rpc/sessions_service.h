// The Sessions service: each call goes to the store on a worker's thread, because it may wait for
// the disk, and back.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "fma/v1/sessions.grpc.pb.h"
#include "server/rpc/services.h"

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
  /// `services` outlive the server that this service is registered with.
  explicit SessionsService(const Services& services) : services_(services) {}

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

  /// Answers on a worker's thread: `answer(sessions, call, request)` gives the response.
  template <class Request, class Answer>
  Unary* Run(const char* method, Context* context, const Bytes* request, Bytes* response,
             Answer answer);

  const Services services_;
};

}  // namespace fmaserver::rpc
