#include "server/openai/ignored_fields.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/ascii.h"
#include "base/text.h"

namespace fmaserver::openai {
namespace {

bool CanBeShown(std::string_view name) {
  constexpr size_t kMaxName = 64;
  return !name.empty() && name.size() <= kMaxName && std::ranges::all_of(name, [](char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-';
  });
}

}  // namespace

Headers IgnoredFields(const std::vector<std::string>& names) {
  constexpr size_t kMaxBytes = 512;
  if (names.empty()) return {};
  std::string list;
  size_t shown = 0;
  for (const std::string& name : names) {
    if (!CanBeShown(name) || list.size() + name.size() > kMaxBytes) continue;
    list += Concat(list.empty() ? "" : ", ", name);
    ++shown;
  }
  const size_t others = names.size() - shown;
  if (others > 0) list += Concat(list.empty() ? "" : ", ", "... (", others, " more)");
  return {{"X-FMA-Ignored-Fields", list}};
}

}  // namespace fmaserver::openai
