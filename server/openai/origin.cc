#include "server/openai/origin.h"

#include "absl/strings/match.h"
#include "base/text.h"

namespace fmaserver::openai {
namespace {

constexpr std::string_view kAllowed = "; allowed: requests of programs and of this server's page";

/// HOST:PORT of "SCHEME://HOST:PORT"; empty for "null".
std::string_view HostOf(std::string_view origin) {
  const size_t scheme = origin.find("://");
  return scheme == origin.npos ? std::string_view() : origin.substr(scheme + 3);
}

}  // namespace

std::string ForeignPage(const OriginHeaders& headers) {
  if (headers.site == "same-origin" || headers.site == "none") return {};
  if (!headers.site.empty()) {
    return Concat("Sec-Fetch-Site is ", Quoted(headers.site), kAllowed);
  }
  // Browsers send no Sec-Fetch-Site to plain HTTP on other machines.
  if (headers.origin.empty()) return {};
  const std::string_view host = HostOf(headers.origin);
  const bool is_own =
      !host.empty() && (absl::EqualsIgnoreCase(ToAbsl(host), ToAbsl(headers.host)) ||
                        absl::EqualsIgnoreCase(ToAbsl(host), ToAbsl(headers.forwarded_host)));
  return is_own ? "" : Concat("Origin is ", Quoted(headers.origin), kAllowed);
}

}  // namespace fmaserver::openai
