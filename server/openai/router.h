// Which path is answered by what.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/openai/exchange.h"
#include "server/service/call_kind.h"

namespace fmaserver::openai {

struct Route {
  std::string_view method;
  std::string_view path;          ///< ends with "/", but is not "/": every path that begins so
  const service::CallKind* kind;  ///< null: anybody may ask, and no call is counted
  Handler handler;
};

class Router {
 public:
  void Add(Route route) { routes_.push_back(std::move(route)); }

  struct Found {
    const Route* route = nullptr;
    std::string allowed = {};  ///< without a route: the methods that the path has; empty: no path
  };
  /// The route of `method` and `path`. It lives as long as the router, when nothing is added.
  Found Find(std::string_view method, std::string_view path) const;

 private:
  std::vector<Route> routes_;
};

}  // namespace fmaserver::openai
