// What the engine reports, as messages of the wire.
#pragma once

#include "fma/v1/generation.pb.h"
#include "model_loader/tokenizer.h"
#include "server/engine/engine.h"
#include "server/engine/request.h"

namespace fmaserver {

v1::Finished ToWire(const Finished& finish);

/// `tokenizer` may be null: then tokens come without their bytes.
v1::Delta ToWire(const Delta& delta, const Tokenizer* tokenizer);
v1::TokenScore ToWire(const TokenScore& score, const Tokenizer* tokenizer);

/// The answer of GetModel: the model, its limits and what one sequence costs.
v1::Model DescribeModel(const Engine& engine);

}  // namespace fmaserver
