// What a door knows about a caller, checked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fmaserver::service {

/// What a caller speaks.
enum class Protocol : uint8_t { kGrpc, kHttp };

/// As received: any bytes, or empty where the caller sent nothing.
struct CallMetadata {
  std::string authorization = {};  ///< "Bearer TOKEN"
  std::string traceparent = {};
  std::string tracestate = {};
  std::string request_id = {};
  std::string peer = {};  ///< the caller's address
  Protocol protocol = Protocol::kGrpc;
};

/// With a traceparent that is valid or empty, a tracestate that may be sent on or is empty, and a
/// valid request id, which is random if the caller sent none.
CallMetadata Checked(CallMetadata metadata);

/// Whether `text` is a traceparent of W3C Trace Context, level 1: of version 00, or of a later
/// version that begins like it.
bool IsTraceparent(std::string_view text);

/// Whether `text` is as long and of such characters as a tracestate may be.
bool IsTracestate(std::string_view text);

/// Whether `text` is 1 to 128 characters of A-Z a-z 0-9 and ._:/+=- , which can be logged
/// unchanged.
bool IsRequestId(std::string_view text);

}  // namespace fmaserver::service
