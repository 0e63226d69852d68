#include "clients/cpp/proxy.h"

#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace fmaserver::client {
namespace {

/// The first of these variables that holds something: its name and value. As gRPC reads them.
std::pair<const char*, std::string> FirstSet(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return {name, value};
  }
  return {};
}

std::string HostOf(const std::string& address) {
  std::string host = address.substr(0, address.rfind(':'));
  std::erase_if(host, [](char c) { return c == '[' || c == ']'; });
  return host;
}

}  // namespace

std::string ProxyHint(const std::string& address) {
  const auto [variable, proxy] = FirstSet({"grpc_proxy", "https_proxy", "http_proxy"});
  if (variable == nullptr) return {};
  const std::string host = HostOf(address);
  const auto direct = FirstSet({"no_grpc_proxy", "no_proxy"});
  const std::vector<std::string> suffixes = absl::StrSplit(direct.second, ',');
  // gRPC takes each as it is, blanks and all.
  const bool goes_direct = std::ranges::any_of(suffixes, [&host](const std::string& suffix) {
    return !suffix.empty() && absl::EndsWithIgnoreCase(host, suffix);
  });
  if (goes_direct) return {};
  // The proxy's user and password are nobody's business.
  const std::string shown = proxy.substr(proxy.rfind('@') + 1);
  return absl::StrCat("; calls go through the proxy ", shown, " that ", variable,
                      " names: no_proxy=", host, " goes without it");
}

}  // namespace fmaserver::client
