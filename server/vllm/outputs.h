// The events of one request become its messages.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "server/service/generate_event.h"
#include "server/vllm/from_wire.h"
#include "vllm/inference.pb.h"

namespace fmaserver::vllm {

class Outputs {
 public:
  /// To be filled before the first event.
  Wanted wanted;

  /// The message of `event`, if it has one. What is told of the prompt is in the first of them.
  std::optional<::vllm::GenerateResponse> After(const service::GenerateEvent& event);

 private:
  void AddPromptInfo(::vllm::GenerateResponse& response);

  std::vector<int32_t> prompt_;  // its tokens, if they are wanted
  int64_t prompt_tokens_ = 0;    // that were among the events
  bool prompt_told_ = false;
};

}  // namespace fmaserver::vllm
