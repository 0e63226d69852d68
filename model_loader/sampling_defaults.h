// generation_config.json: how the makers of a model want its tokens to be chosen.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace fmaserver::model {

/// What counts when a request does not say. The ranges are those of the API (docs/api.md).
struct SamplingDefaults {
  float temperature = 1;
  int32_t top_k = 0;  ///< 0: all
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;
};

/// Unless "do_sample" is true, the other values mean nothing and are not looked at; keys that no
/// request has are ignored. INVALID_ARGUMENT names `origin`, the key, what was found and what is
/// allowed.
absl::StatusOr<SamplingDefaults> ParseSamplingDefaults(std::string_view json,
                                                       std::string_view origin);

}  // namespace fmaserver::model
