#include "server/kserve/describe.h"

#include <string_view>

#include "base/refusal.h"
#include "server/kserve/infer_request.h"
#include "server/kserve/tensors.h"

namespace fmaserver::kserve {
namespace {

constexpr char kBackend[] = "fma";

struct Tensor {
  const char* name;
  std::string_view datatype;
  bool optional = false;
};

constexpr Tensor kInputs[] = {{kTextInput, kBytes},
                              {kStream, kBool, true},
                              {kStreaming, kBool, true},
                              {kSamplingParameters, kBytes, true}};
constexpr Tensor kOutputs[] = {{kTextOutput, kBytes}, {kFinishReason, kBytes}};

inference::DataType DataTypeOf(const Tensor& tensor) {
  return tensor.datatype == kBool ? inference::TYPE_BOOL : inference::TYPE_STRING;
}

void Describe(const Tensor& tensor, inference::ModelMetadataResponse::TensorMetadata& metadata) {
  metadata.set_name(tensor.name);
  metadata.set_datatype(std::string(tensor.datatype));
  metadata.add_shape(1);
}

}  // namespace

absl::Status CheckVersion(const std::string& version) {
  if (version.empty() || version == kModelVersion) return absl::OkStatus();
  return Refusal("model_version", version, Concat(kModelVersion, ", or none"),
                 absl::StatusCode::kNotFound);
}

bool IsReady(const models::ServedModel& model) {
  const engine::LoadReport load = model.runner().Load();
  return !load.draining && !load.failed;
}

inference::ServerMetadataResponse DescribeServer() {
  inference::ServerMetadataResponse response;
  response.set_name("fma-server");
  response.set_version(FMA_VERSION);
  for (const char* extension : {"sequence", "parameters", "model_configuration"}) {
    response.add_extensions(extension);
  }
  return response;
}

inference::ModelMetadataResponse DescribeModel(const models::ServedModel& model) {
  inference::ModelMetadataResponse response;
  response.set_name(model.name());
  response.add_versions(std::string(kModelVersion));
  response.set_platform(kBackend);
  for (const Tensor& input : kInputs) Describe(input, *response.add_inputs());
  for (const Tensor& output : kOutputs) Describe(output, *response.add_outputs());
  return response;
}

inference::ModelConfigResponse ConfigOf(const models::ServedModel& model) {
  inference::ModelConfigResponse response;
  inference::ModelConfig& config = *response.mutable_config();
  config.set_name(model.name());
  config.set_backend(kBackend);
  config.mutable_model_transaction_policy()->set_decoupled(true);
  for (const Tensor& input : kInputs) {
    inference::ModelInput& described = *config.add_input();
    described.set_name(input.name);
    described.set_data_type(DataTypeOf(input));
    described.add_dims(1);
    described.set_optional(input.optional);
  }
  for (const Tensor& output : kOutputs) {
    inference::ModelOutput& described = *config.add_output();
    described.set_name(output.name);
    described.set_data_type(DataTypeOf(output));
    described.add_dims(1);
  }
  return response;
}

}  // namespace fmaserver::kserve
