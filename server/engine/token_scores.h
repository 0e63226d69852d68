// How likely the model finds tokens that are given.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "server/engine/request.h"

namespace fmaserver::engine {

/// Scores of the tokens that follow `rows` > 0 fed ones: tokens[position + 1, position + rows + 1),
/// as far as there are any. Row i of `logits` [rows, V] is what came after tokens[position + i].
std::vector<TokenScore> ScoreFollowers(std::span<const int32_t> tokens, int64_t position,
                                       int64_t rows, std::span<const float> logits,
                                       int32_t top_logprobs);

}  // namespace fmaserver::engine
