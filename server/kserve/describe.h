// What the server and its models say of themselves.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "inference/grpc_service.pb.h"
#include "server/models/served_model.h"

namespace fmaserver::kserve {

/// NOT_FOUND for a version that no model has.
absl::Status CheckVersion(const std::string& version);

/// Whether it takes requests, though maybe not at once.
bool IsReady(const models::ServedModel& model);

inference::ServerMetadataResponse DescribeServer();
inference::ModelMetadataResponse DescribeModel(const models::ServedModel& model);
inference::ModelConfigResponse ConfigOf(const models::ServedModel& model);

}  // namespace fmaserver::kserve
