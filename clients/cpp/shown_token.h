// A token as people read it.
#pragma once

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace fmaserver::client {

/// A token's text in quotes, or its id where the model has no tokenizer.
template <class Token>
std::string Shown(const Token& token) {
  if (token.token().empty()) return absl::StrCat(token.token_id());
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(token.token()), "\"");
}

}  // namespace fmaserver::client
