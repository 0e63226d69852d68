// vLLM's gRPC services, as its router speaks them: Inference and Control.
#pragma once

#include "server/rpc/more_services.h"

namespace fmaserver::vllm {

/// Both share the requests that can be aborted.
rpc::ServiceMakers MakersOfServices();

}  // namespace fmaserver::vllm
