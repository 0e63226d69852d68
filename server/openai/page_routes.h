// GET /: the page for browsers.
#pragma once

#include "server/openai/router.h"

namespace fmaserver::openai {

/// Anybody may have the page: it holds no secret, and asks for a bearer token where one is needed.
void AddPageRoute(Router& router);

}  // namespace fmaserver::openai
