// What a call of an encoder asks for, as a door hands it over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/encode_request.h"
#include "server/service/generate_request.h"
#include "server/service/limits.h"
#include "server/service/tokens.h"

namespace fmaserver::service {

struct EncodeRequest {
  std::vector<Input> texts = {};
  bool truncate = false;   ///< of longer texts read the first tokens alone
  int32_t candidates = 0;  ///< as in engine::EncodeRequest
  std::string mask =
      {};  ///< with candidates: what in a text stands for the mask token; empty: none
};

inline constexpr size_t kMaxMaskBytes = 256;
inline constexpr int32_t kDefaultCandidates = 5;

/// The engine's request, and how many tokens each text had too many.
struct ReadyToEncode {
  engine::EncodeRequest request;
  std::vector<int64_t> truncated;
};

/// The tokens of all texts, within the limits; `max_tokens` is what the engine takes of one. What
/// is wrong with a text is told with its place: "inputs[3]".
absl::StatusOr<ReadyToEncode> ForEncoder(EncodeRequest request, const Vocabulary& vocabulary,
                                         const RequestLimits& limits, int64_t max_tokens);

}  // namespace fmaserver::service
