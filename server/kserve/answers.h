// The events of one request become its answers.
#pragma once

#include <optional>
#include <string>

#include "inference/grpc_service.pb.h"
#include "server/kserve/infer_request.h"
#include "server/service/generate_event.h"

namespace fmaserver::kserve {

class Answers {
 public:
  /// To be filled before the first event.
  AnswerForm form;

  /// The answer that `event` completes, if it does; the last one says that it is.
  std::optional<inference::ModelInferResponse> After(const service::GenerateEvent& event);

 private:
  inference::ModelInferResponse Make(const std::string& finish_reason);

  std::string text_;  // not sent yet
};

}  // namespace fmaserver::kserve
