// POST /v1/completions and /v1/chat/completions.
#pragma once

#include "server/openai/hall.h"
#include "server/openai/router.h"

namespace fmaserver::openai {

/// `hall` outlives the router.
void AddCompletionRoutes(Hall& hall, Router& router);

}  // namespace fmaserver::openai
