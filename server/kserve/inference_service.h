// The inference protocol of KServe, as Triton's clients speak it: GRPCInferenceService.
#pragma once

#include "server/rpc/more_services.h"

namespace fmaserver::kserve {

/// An rpc::ServiceMaker.
rpc::NamedService MakeInferenceService(service::Service& service);

}  // namespace fmaserver::kserve
