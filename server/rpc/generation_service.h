// The Generation service: each call goes to the engine or the tokenizer and back.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "fma/v1/generation.grpc.pb.h"
#include "server/engine/engine.h"
#include "server/rpc/services.h"

namespace fmaserver::rpc {

/// Generation with every method in raw bytes; see byte_buffer.h for why.
using RawGenerationService = v1::Generation::WithRawCallbackMethod_Generate<
    v1::Generation::WithRawCallbackMethod_Score<v1::Generation::WithRawCallbackMethod_Tokenize<
        v1::Generation::WithRawCallbackMethod_Detokenize<
            v1::Generation::WithRawCallbackMethod_GetModel<v1::Generation::Service>>>>>;

/// Thread-safe and without state of its own. Text is encoded on gRPC's callback threads: a prompt
/// of many megabytes keeps one of them busy for as long as that takes.
class GenerationService final : public RawGenerationService {
 public:
  /// `services` outlive the server that this service is registered with.
  explicit GenerationService(const Services& services)
      : services_(services), engine_(services.engine) {}

 private:
  using Context = grpc::CallbackServerContext;
  using Bytes = grpc::ByteBuffer;

  grpc::ServerWriteReactor<Bytes>* Generate(Context* context, const Bytes* request) override;
  grpc::ServerWriteReactor<Bytes>* Score(Context* context, const Bytes* request) override;
  grpc::ServerUnaryReactor* Tokenize(Context* context, const Bytes* request,
                                     Bytes* response) override;
  grpc::ServerUnaryReactor* Detokenize(Context* context, const Bytes* request,
                                       Bytes* response) override;
  grpc::ServerUnaryReactor* GetModel(Context* context, const Bytes* request,
                                     Bytes* response) override;

  const Services services_;
  engine::Engine& engine_;
};

}  // namespace fmaserver::rpc
