#include "server/kserve/inference_service.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "inference/grpc_service.grpc.pb.h"
#include "server/kserve/describe.h"
#include "server/kserve/infer_reactor.h"
#include "server/kserve/infer_request.h"
#include "server/kserve/infer_stream.h"
#include "server/rpc/unary.h"

namespace fmaserver::kserve {
namespace {

using inference::GRPCInferenceService;
using Context = grpc::CallbackServerContext;
using Bytes = grpc::ByteBuffer;

/// Every method in raw bytes; see rpc/byte_buffer.h for why.
using RawMetadataService = GRPCInferenceService::WithRawCallbackMethod_ServerLive<
    GRPCInferenceService::WithRawCallbackMethod_ServerReady<
        GRPCInferenceService::WithRawCallbackMethod_ModelReady<
            GRPCInferenceService::WithRawCallbackMethod_ServerMetadata<
                GRPCInferenceService::WithRawCallbackMethod_ModelMetadata<
                    GRPCInferenceService::WithRawCallbackMethod_ModelConfig<
                        GRPCInferenceService::WithRawCallbackMethod_RepositoryIndex<
                            GRPCInferenceService::Service>>>>>>>;
using RawInferenceService = GRPCInferenceService::WithRawCallbackMethod_ModelInfer<
    GRPCInferenceService::WithRawCallbackMethod_ModelStreamInfer<RawMetadataService>>;

/// Thread-safe and without state of its own.
class InferenceService final : public RawInferenceService {
 public:
  explicit InferenceService(service::Service& service) : service_(service) {}

 private:
  grpc::ServerUnaryReactor* ModelInfer(Context* context, const Bytes* request,
                                       Bytes* response) override {
    return InferReactor::Open(service_, *context, *request, *response);
  }
  grpc::ServerBidiReactor<Bytes, Bytes>* ModelStreamInfer(Context* context) override {
    return InferStream::Open(service_, *context);
  }

  grpc::ServerUnaryReactor* ServerLive(Context* context, const Bytes* request,
                                       Bytes* response) override;
  grpc::ServerUnaryReactor* ServerReady(Context* context, const Bytes* request,
                                        Bytes* response) override;
  grpc::ServerUnaryReactor* ModelReady(Context* context, const Bytes* request,
                                       Bytes* response) override;
  grpc::ServerUnaryReactor* ServerMetadata(Context* context, const Bytes* request,
                                           Bytes* response) override;
  grpc::ServerUnaryReactor* ModelMetadata(Context* context, const Bytes* request,
                                          Bytes* response) override;
  grpc::ServerUnaryReactor* ModelConfig(Context* context, const Bytes* request,
                                        Bytes* response) override;
  grpc::ServerUnaryReactor* RepositoryIndex(Context* context, const Bytes* request,
                                            Bytes* response) override;

  template <class Request, class Answer>
  grpc::ServerUnaryReactor* AtOnce(const service::CallKind& kind, const rpc::UnaryCall& unary,
                                   const Answer& answer) {
    return rpc::AnswerUnary<Request>(service_, kind, unary, rpc::AtOnce, answer);
  }

  /// The model that `message` names, in the version that it names.
  template <class Request>
  absl::StatusOr<models::ModelPtr> Find(service::Call& call, const Request& message) {
    if (absl::Status status = CheckVersion(message.version()); !status.ok()) return status;
    return service_.Find(message.name(), call);
  }

  service::Service& service_;
};

grpc::ServerUnaryReactor* InferenceService::ServerLive(Context* context, const Bytes* request,
                                                       Bytes* response) {
  return AtOnce<inference::ServerLiveRequest>(
      service::kServerLive, {*context, *request, *response}, [](auto& /*call*/, const auto&) {
        inference::ServerLiveResponse answer;
        answer.set_live(true);
        return absl::StatusOr<inference::ServerLiveResponse>(answer);
      });
}

grpc::ServerUnaryReactor* InferenceService::ServerReady(Context* context, const Bytes* request,
                                                        Bytes* response) {
  return AtOnce<inference::ServerReadyRequest>(
      service::kServerReady, {*context, *request, *response}, [this](auto& /*call*/, const auto&) {
        inference::ServerReadyResponse answer;
        answer.set_ready(
            std::ranges::any_of(service_.models().List(),
                                [](const models::ModelPtr& model) { return IsReady(*model); }));
        return absl::StatusOr<inference::ServerReadyResponse>(answer);
      });
}

grpc::ServerUnaryReactor* InferenceService::ModelReady(Context* context, const Bytes* request,
                                                       Bytes* response) {
  return AtOnce<inference::ModelReadyRequest>(
      service::kModelReady, {*context, *request, *response},
      [this](service::Call& call, const auto& message) {
        const auto model = Find(call, message);
        inference::ModelReadyResponse answer;
        answer.set_ready(model.ok() && IsReady(**model));
        return absl::StatusOr<inference::ModelReadyResponse>(answer);
      });
}

grpc::ServerUnaryReactor* InferenceService::ServerMetadata(Context* context, const Bytes* request,
                                                           Bytes* response) {
  return AtOnce<inference::ServerMetadataRequest>(
      service::kServerMetadata, {*context, *request, *response}, [](auto& /*call*/, const auto&) {
        return absl::StatusOr<inference::ServerMetadataResponse>(DescribeServer());
      });
}

grpc::ServerUnaryReactor* InferenceService::ModelMetadata(Context* context, const Bytes* request,
                                                          Bytes* response) {
  return AtOnce<inference::ModelMetadataRequest>(
      service::kModelMetadata, {*context, *request, *response},
      [this](service::Call& call,
             const auto& message) -> absl::StatusOr<inference::ModelMetadataResponse> {
        const auto model = Find(call, message);
        if (!model.ok()) return model.status();
        return DescribeModel(**model);
      });
}

grpc::ServerUnaryReactor* InferenceService::ModelConfig(Context* context, const Bytes* request,
                                                        Bytes* response) {
  return AtOnce<inference::ModelConfigRequest>(
      service::kModelConfig, {*context, *request, *response},
      [this](service::Call& call,
             const auto& message) -> absl::StatusOr<inference::ModelConfigResponse> {
        const auto model = Find(call, message);
        if (!model.ok()) return model.status();
        return ConfigOf(**model);
      });
}

grpc::ServerUnaryReactor* InferenceService::RepositoryIndex(Context* context, const Bytes* request,
                                                            Bytes* response) {
  return AtOnce<inference::RepositoryIndexRequest>(
      service::kRepositoryIndex, {*context, *request, *response},
      [this](auto& /*call*/, const auto& message) {
        inference::RepositoryIndexResponse answer;
        for (const models::ModelPtr& model : service_.models().List()) {
          const bool ready = IsReady(*model);
          if (message.ready() && !ready) continue;
          auto& listed = *answer.add_models();
          listed.set_name(model->name());
          listed.set_version(kModelVersion);
          listed.set_state(ready ? "READY" : "UNAVAILABLE");
        }
        return absl::StatusOr<inference::RepositoryIndexResponse>(std::move(answer));
      });
}

}  // namespace

rpc::NamedService MakeInferenceService(service::Service& service) {
  return {GRPCInferenceService::service_full_name(), std::make_unique<InferenceService>(service)};
}

}  // namespace fmaserver::kserve
