#include "base/text.h"

#include <cstddef>

#include "nlohmann/json.hpp"

namespace fmaserver {

std::string Quoted(std::string_view text) {
  using nlohmann::json;
  constexpr size_t kMaxBytes = 80;
  // JSON's rules for strings are the shortest ones that everybody can read.
  std::string quoted = json(std::string(text.substr(0, kMaxBytes)))
                           .dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
  if (text.size() > kMaxBytes) quoted.insert(quoted.size() - 1, "...");
  return quoted;
}

}  // namespace fmaserver
