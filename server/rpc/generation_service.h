// The Generation service: messages to calls of the service and back.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <initializer_list>

#include "fma/v1/generation.grpc.pb.h"
#include "server/service/service.h"

namespace fmaserver::rpc {

/// Generation with every method in raw bytes; see byte_buffer.h for why.
using RawGenerationService =
    v1::Generation::WithRawCallbackMethod_Generate<v1::Generation::WithRawCallbackMethod_Chat<
        v1::Generation::WithRawCallbackMethod_Score<v1::Generation::WithRawCallbackMethod_Tokenize<
            v1::Generation::WithRawCallbackMethod_Detokenize<
                v1::Generation::WithRawCallbackMethod_GetModel<
                    v1::Generation::WithRawCallbackMethod_ListModels<v1::Generation::Service>>>>>>>;

/// Thread-safe and without state of its own.
class GenerationService final : public RawGenerationService {
 public:
  /// `service` outlives the server that this is registered with.
  explicit GenerationService(service::Service& service) : service_(service) {}

 private:
  using Context = grpc::CallbackServerContext;
  using Bytes = grpc::ByteBuffer;

  grpc::ServerWriteReactor<Bytes>* Generate(Context* context, const Bytes* request) override;
  grpc::ServerWriteReactor<Bytes>* Chat(Context* context, const Bytes* request) override;
  grpc::ServerWriteReactor<Bytes>* Score(Context* context, const Bytes* request) override;
  grpc::ServerUnaryReactor* Tokenize(Context* context, const Bytes* request,
                                     Bytes* response) override;
  grpc::ServerUnaryReactor* Detokenize(Context* context, const Bytes* request,
                                       Bytes* response) override;
  grpc::ServerUnaryReactor* GetModel(Context* context, const Bytes* request,
                                     Bytes* response) override;
  grpc::ServerUnaryReactor* ListModels(Context* context, const Bytes* request,
                                       Bytes* response) override;

  /// Generate and Chat differ in their message, and in where it names the model.
  template <class Message>
  grpc::ServerWriteReactor<Bytes>* StreamGeneration(Context& context, const Bytes& request,
                                                    const service::CallKind& kind,
                                                    std::initializer_list<int> model_path);

  service::Service& service_;
};

}  // namespace fmaserver::rpc
