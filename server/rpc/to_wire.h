// What the engine reports, as messages of the wire.
#pragma once

#include <span>
#include <vector>

#include "fma/v1/generation.pb.h"
#include "model_loader/tokenizer.h"
#include "server/engine/engine.h"
#include "server/engine/request.h"

namespace fmaserver {

v1::Finished ToWire(const Finished& finish);

/// `tokenizer` may be null: then tokens come without their bytes.
v1::Delta ToWire(const Delta& delta, const Tokenizer* tokenizer);

/// In messages of at most 64 tokens: with 100 alternatives each, some 100 KiB.
std::vector<v1::TokenScores> ToWireChunks(std::span<const TokenScore> scores,
                                          const Tokenizer* tokenizer);

/// The answer of GetModel: the model, its limits and what one sequence costs.
v1::Model DescribeModel(const Engine& engine);

}  // namespace fmaserver
