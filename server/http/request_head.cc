#include "server/http/request_head.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace fmaserver::http {
namespace {

const char* Reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 410:
      return "Gone";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
}

/// A character that may stand in a request's target.
bool IsTargetCharacter(char c) { return c > 0x20 && c < 0x7f; }

/// The path of a target, which may be a whole URL (RFC 9112, 3.2.2), without its query; empty for
/// what is neither. Proxies and some load balancers send URLs.
std::string PathOf(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!absl::StartsWithIgnoreCase(ToAbsl(target), ToAbsl(scheme))) continue;
    target.remove_prefix(scheme.size());
    const size_t end = target.find_first_of("/?");
    if (target.empty() || end == 0) return {};  // no host
    target = end == std::string_view::npos ? std::string_view() : target.substr(end);
    if (!target.starts_with('/')) return "/";
  }
  if (!target.starts_with('/')) return {};
  return std::string(target.substr(0, target.find('?')));
}

}  // namespace

bool HasWholeHead(std::string_view received) {
  return received.find("\r\n\r\n") != std::string_view::npos ||
         received.find("\n\n") != std::string_view::npos;
}

RequestHead ParseRequestHead(std::string_view head) {
  std::string_view line = head.substr(0, head.find('\n'));
  if (line.ends_with('\r')) line.remove_suffix(1);
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || last == first) return {.path = {}, .error = 400};
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  const std::string path = PathOf(target);
  if (path.empty() || (version != "HTTP/1.1" && version != "HTTP/1.0")) {
    return {.path = {}, .error = 400};
  }
  for (const char c : target) {
    if (!IsTargetCharacter(c)) return {.path = {}, .error = 400};
  }
  const bool head_only = method == "HEAD";
  if (method != "GET" && !head_only) return {.path = {}, .error = 405};
  return {.head_only = head_only, .path = path, .error = 0};
}

std::string SerializeResponse(const HttpResponse& response, bool head_only) {
  std::string bytes = absl::StrCat("HTTP/1.1 ", response.status, " ", Reason(response.status),
                                   "\r\nContent-Type: ", response.content_type,
                                   "\r\nContent-Length: ", response.body.size(),
                                   "\r\nCache-Control: no-store\r\nConnection: close\r\n");
  if (response.status == 405) absl::StrAppend(&bytes, "Allow: GET, HEAD\r\n");
  absl::StrAppend(&bytes, "\r\n");
  if (!head_only) bytes += response.body;
  return bytes;
}

HttpResponse ErrorResponse(int status) {
  return {.status = status, .body = absl::StrCat(status, " ", Reason(status), "\n")};
}

}  // namespace fmaserver::http
