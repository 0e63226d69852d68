// POST /tokenize, POST /detokenize and GET /tokenizer_info: a model's tokenizer for clients that
// work with tokens.
#pragma once

#include "server/openai/hall.h"
#include "server/openai/router.h"

namespace fmaserver::openai {

/// `hall` outlives the router.
void AddTokenRoutes(Hall& hall, Router& router);

}  // namespace fmaserver::openai
