// How the query of a chosen token divided its attention, from what a step tells of it.
#pragma once

#include <cstddef>
#include <span>

#include "model_loader/model_config.h"
#include "server/engine/request.h"

namespace fmaserver::engine {

/// The numbers of kernels::Segment::attention_shares.
size_t NumShares(const model::ModelConfig& config);

/// Their averages over query heads.
AttentionShares SharesOf(const model::ModelConfig& config, std::span<const float> shares);

}  // namespace fmaserver::engine
