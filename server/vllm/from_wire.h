// Requests of vLLM's protocol become the service's.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "server/service/generate_request.h"
#include "server/service/tokens.h"
#include "vllm/inference.pb.h"

namespace fmaserver::vllm {

/// What a request wants to be told.
struct Wanted {
  bool text = true;
  bool token_ids = false;
  bool prompt_token_ids = false;
  /// Of the prompt, where the request says so; else its tokens are among the events.
  std::optional<int64_t> prompt_tokens = {};
};

struct Request {
  service::GenerateRequest generate;
  Wanted wanted;
};

/// INVALID_ARGUMENT names what is wrong, and what is set but not served.
absl::StatusOr<Request> FromWire(::vllm::GenerateRequest message,
                                 const service::Vocabulary& vocabulary);

}  // namespace fmaserver::vllm
