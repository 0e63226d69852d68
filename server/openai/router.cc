#include "server/openai/router.h"

#include "base/text.h"

namespace fmaserver::openai {
namespace {

bool Matches(std::string_view route, std::string_view path) {
  return route.size() > 1 && route.ends_with('/')
             ? path.starts_with(route) && path.size() > route.size()
             : path == route;
}

}  // namespace

Router::Found Router::Find(std::string_view method, std::string_view path) const {
  Found found;
  for (const Route& route : routes_) {
    if (!Matches(route.path, path)) continue;
    if (route.method == method) return {.route = &route};
    found.allowed += Concat(found.allowed.empty() ? "" : ", ", route.method);
  }
  return found;
}

}  // namespace fmaserver::openai
