// What is asked before anything else: /health, /version, /v1/models; and what is not there.
#pragma once

#include "server/openai/hall.h"
#include "server/openai/router.h"

namespace fmaserver::openai {

/// `hall` outlives the router.
void AddStatusRoutes(Hall& hall, Router& router);

}  // namespace fmaserver::openai
