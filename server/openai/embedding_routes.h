// POST /v1/embeddings.
#pragma once

#include "server/openai/hall.h"
#include "server/openai/router.h"

namespace fmaserver::openai {

/// `hall` outlives the router.
void AddEmbeddingRoutes(Hall& hall, Router& router);

}  // namespace fmaserver::openai
