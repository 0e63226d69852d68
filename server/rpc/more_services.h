// Services of other rooms on the gRPC port, beside those of this room.
#pragma once

#include <grpcpp/impl/service_type.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/service/service.h"

namespace fmaserver::rpc {

struct NamedService {
  std::string name;  ///< in full, "package.Service"
  std::unique_ptr<grpc::Service> service;
};

/// Makes a service that is served by what it is given, which outlives it.
using ServiceMaker = std::function<NamedService(service::Service&)>;
using ServiceMakers = std::vector<ServiceMaker>;

}  // namespace fmaserver::rpc
