#include "server/vllm/control_service.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>
#include <unordered_set>

#include "absl/status/statusor.h"
#include "server/rpc/unary.h"

namespace fmaserver::vllm {
namespace {

namespace wire = ::vllm;

/// What vLLM's own server says.
constexpr char kApiVersion[] = "vllm";

/// One process, one device.
void SetParallelism(wire::ParallelismInfo& info) {
  info.set_tensor_parallel_size(1);
  info.set_pipeline_parallel_size(1);
  info.set_data_parallel_size(1);
  info.set_decode_context_parallel_size(1);
  info.set_world_size(1);
}

wire::ServerInfo DescribeServer(const models::ServedModel& model) {
  const engine::Engine& engine = model.engine();
  constexpr int64_t kLongest = std::numeric_limits<uint32_t>::max();
  wire::ServerInfo info;
  info.set_engine_version(FMA_VERSION);
  info.set_api_version(kApiVersion);
  SetParallelism(*info.mutable_parallelism());
  info.set_max_model_len(
      static_cast<uint32_t>(std::min(engine.model().config().MaxSequenceLength(), kLongest)));
  info.set_max_running_requests(engine.options().num_slots);
  info.set_max_batched_tokens(engine.options().step_tokens);
  return info;
}

wire::ModelInfo DescribeModel(const models::ServedModel& model) {
  wire::ModelInfo info;
  info.set_model_id(model.name());
  info.set_served_model_name(model.name());
  info.mutable_served_model_aliases()->Add(model.aliases().begin(), model.aliases().end());
  info.set_supports_text_input(model.engine().tokenizer() != nullptr);
  info.set_supports_token_ids_input(true);
  return info;
}

}  // namespace

grpc::ServerUnaryReactor* ControlService::GetServerInfo(Context* context, const Bytes* request,
                                                        Bytes* response) {
  return rpc::AnswerUnary<wire::GetServerInfoRequest>(
      service_, service::kGetServerInfo, {*context, *request, *response}, rpc::AtOnce,
      [this](service::Call& call, const auto&) -> absl::StatusOr<wire::ServerInfo> {
        const auto model = service_.Find("", call);
        if (!model.ok()) return model.status();
        wire::ServerInfo info = DescribeServer(**model);
        info.set_instance_id(instance_id_);
        return info;
      });
}

grpc::ServerUnaryReactor* ControlService::GetModelInfo(Context* context, const Bytes* request,
                                                       Bytes* response) {
  return rpc::AnswerUnary<wire::GetModelInfoRequest>(
      service_, service::kGetModelInfo, {*context, *request, *response}, rpc::AtOnce,
      [this](service::Call& call, const auto&) -> absl::StatusOr<wire::ModelInfo> {
        const auto model = service_.Find("", call);
        if (!model.ok()) return model.status();
        return DescribeModel(**model);
      });
}

grpc::ServerUnaryReactor* ControlService::Abort(Context* context, const Bytes* request,
                                                Bytes* response) {
  return rpc::AnswerUnary<wire::AbortRequest>(
      service_, service::kAbort, {*context, *request, *response}, rpc::AtOnce,
      [live = live_](service::Call& call, const wire::AbortRequest& message) {
        const std::unordered_set<std::string_view> ids(message.request_ids().begin(),
                                                       message.request_ids().end());
        live->Abort(call.tenant(), ids);
        return absl::StatusOr<wire::AbortResponse>(wire::AbortResponse());
      });
}

}  // namespace fmaserver::vllm
