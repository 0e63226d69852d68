// A template's text becomes its statements.
#pragma once

#include <string_view>

#include "model_loader/chat_template/statement.h"

namespace fmaserver::chat {

/// Throws TemplateError for what is no template, and for what Jinja has and this room has not.
Block ParseTemplate(std::string_view source);

}  // namespace fmaserver::chat
