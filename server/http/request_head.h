// The head of an HTTP/1 request, which is all there is to a probe or a scrape.
#pragma once

#include <string>
#include <string_view>

namespace fmaserver::http {

struct HttpResponse {
  int status = 200;
  std::string body = {};
  std::string content_type = "text/plain; charset=utf-8";
};

struct RequestHead {
  bool head_only = false;  ///< HEAD: the answer goes without its body
  std::string path;        ///< as it was sent, without scheme, host and query
  /// 0, or the status to answer with instead of asking a handler: 400 no request of HTTP/1, 405
  /// neither GET nor HEAD.
  int error = 0;
};

/// Longer heads are refused with 431.
inline constexpr size_t kMaxHeadBytes = size_t{16} << 10;

/// Whether `received` holds a whole head, which ends with an empty line.
bool HasWholeHead(std::string_view received);

/// Reads the first line of a head and ignores the fields after it. `head` may be any bytes.
RequestHead ParseRequestHead(std::string_view head);

/// The bytes of the answer. Each connection serves one request, and the answer says so.
std::string SerializeResponse(const HttpResponse& response, bool head_only);

/// "404 Not Found" as a response, for the statuses that this server sends.
HttpResponse ErrorResponse(int status);

}  // namespace fmaserver::http
