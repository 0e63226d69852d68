// The header that tells a client which of its fields had no effect.
#pragma once

#include <string>
#include <vector>

#include "server/openai/exchange.h"

namespace fmaserver::openai {

/// X-FMA-Ignored-Fields with the first of `names`, as far as a header can show them; no header for
/// no names.
Headers IgnoredFields(const std::vector<std::string>& names);

}  // namespace fmaserver::openai
