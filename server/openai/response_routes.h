// POST /v1/responses, and GET and DELETE of one.
#pragma once

#include "server/openai/hall.h"
#include "server/openai/router.h"

namespace fmaserver::openai {

/// `hall` outlives the router.
void AddResponseRoutes(Hall& hall, Router& router);

}  // namespace fmaserver::openai
