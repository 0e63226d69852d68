#include "server/rpc/admin_service.h"

#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "server/rpc/to_wire.h"
#include "server/rpc/unary.h"
#include "server/service/admin_calls.h"

namespace fmaserver::rpc {

using service::AdminCalls;

grpc::ServerUnaryReactor* AdminService::LoadModel(Context* context, const Bytes* request,
                                                  Bytes* response) {
  return AnswerUnary<v1::LoadModelRequest>(
      service_, service::kLoadModel, {*context, *request, *response},
      [this](auto task) { return workers_.Start(std::move(task)); },
      [this](service::Call& call, const auto& message) -> absl::StatusOr<v1::Model> {
        AdminCalls admin(service_.models(), service_.policy());
        const auto model = admin.Load(message.name(), message.folder());
        if (!model.ok()) return model.status();
        call.SetModel((*model)->name());
        return DescribeModel(**model, service_.policy().limits.share);
      });
}

grpc::ServerUnaryReactor* AdminService::UnloadModel(Context* context, const Bytes* request,
                                                    Bytes* response) {
  return AnswerUnary<v1::UnloadModelRequest>(
      service_, service::kUnloadModel, {*context, *request, *response},
      [this](auto task) { return workers_.Start(std::move(task)); },
      [this](service::Call& call, const auto& message) -> absl::StatusOr<v1::UnloadModelResponse> {
        std::optional<double> grace;
        if (message.has_grace_seconds()) grace = message.grace_seconds();
        AdminCalls admin(service_.models(), service_.policy());
        absl::Status status = admin.Unload(message.name(), grace);
        if (!status.ok()) return status;
        call.SetModel(message.name());
        return v1::UnloadModelResponse();
      });
}

}  // namespace fmaserver::rpc
