// What the engine reports, as messages of the wire.
#pragma once

#include <span>
#include <vector>

#include "fma/v1/generation.pb.h"
#include "model_loader/tokenizer.h"
#include "server/engine/engine.h"
#include "server/engine/request.h"

namespace fmaserver::rpc {

v1::Finished ToWire(const engine::Finished& finish);

/// `tokenizer` may be null: then tokens come without their bytes.
v1::Delta ToWire(const engine::Delta& delta, const model::Tokenizer* tokenizer);

/// In messages of at most 64 tokens: with 100 alternatives each, some 100 KiB.
std::vector<v1::TokenScores> ToWireChunks(std::span<const engine::TokenScore> scores,
                                          const model::Tokenizer* tokenizer);

/// The answer of GetModel: the model, its limits and what one sequence costs.
v1::Model DescribeModel(const engine::Engine& engine);

}  // namespace fmaserver::rpc
