// The limits of this server for requests, within what the engine takes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "server/engine/request.h"
#include "server/service/role.h"

namespace fmaserver::service {

struct RequestLimits {
  int32_t request_bytes = 32 << 20;  ///< inflated, if it is compressed
  int64_t prompt_tokens = 0;         ///< 0: what the model takes
  int64_t text_bytes = 0;            ///< 0: what a request may hold
  int32_t stop_strings = static_cast<int32_t>(engine::kMaxStops);  ///< 0..kMaxStops
  size_t answer_bytes = size_t{4} << 20;                           ///< of a branch
  int32_t samples = engine::kMaxSamples;                           ///< 1..kMaxSamples
  Share share = {};
};

/// All of these return INVALID_ARGUMENT with what was found and the limit.
absl::Status CheckText(size_t bytes, const RequestLimits& limits);
absl::Status CheckPrompt(int64_t tokens, const RequestLimits& limits);
/// Checks the rest of a request, whose prompt need not be set yet.
absl::Status CheckOptions(const engine::GenerateRequest& request, const RequestLimits& limits);

/// CheckShare of a request with the prompt that it has so far.
absl::Status CheckShare(const engine::GenerateRequest& request, const RequestLimits& limits);

}  // namespace fmaserver::service
