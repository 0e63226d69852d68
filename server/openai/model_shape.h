// What the page draws of a model: its hierarchy, and what a sequence costs.
#pragma once

#include "server/models/served_model.h"
#include "server/openai/choice_json.h"

namespace fmaserver::openai {

/// The field "fma" of a model in /v1/models, as docs/openai.md lists it.
Json ShapeOf(const models::ServedModel& served);

}  // namespace fmaserver::openai
