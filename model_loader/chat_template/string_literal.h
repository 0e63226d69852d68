// Strings in a template's tags.
#pragma once

#include <string>
#include <string_view>

namespace fmaserver::chat {

/// What stands between the quotes, with Python's escapes replaced. Throws TemplateError.
std::string Unescaped(std::string_view literal, int line);

}  // namespace fmaserver::chat
