// Values as JSON, written as chat templates expect it: json.dumps(..., ensure_ascii=False).
#pragma once

#include <cstdint>

#include "model_loader/chat_template/run.h"
#include "model_loader/chat_template/value.h"

namespace fmaserver::chat {

/// `indent`: spaces for each level; negative: all on one line. Throws TemplateError for what JSON
/// cannot say.
MarkedText ToJson(Run& run, const Value& value, int64_t indent);

}  // namespace fmaserver::chat
