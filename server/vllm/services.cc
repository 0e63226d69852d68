#include "server/vllm/services.h"

#include <memory>

#include "server/vllm/control_service.h"
#include "server/vllm/inference_service.h"
#include "server/vllm/live_requests.h"

namespace fmaserver::vllm {

rpc::ServiceMakers MakersOfServices() {
  const auto live = std::make_shared<LiveRequests>();
  return {
      [live](service::Service& service) {
        return rpc::NamedService{::vllm::Inference::service_full_name(),
                                 std::make_unique<InferenceService>(service, live)};
      },
      [live](service::Service& service) {
        return rpc::NamedService{::vllm::Control::service_full_name(),
                                 std::make_unique<ControlService>(service, live)};
      },
  };
}

}  // namespace fmaserver::vllm
