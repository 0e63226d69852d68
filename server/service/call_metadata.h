// What a door knows of a caller, checked.
#pragma once

#include <string>
#include <string_view>

namespace fmaserver::service {

/// As it came: strings of any bytes, empty where the caller said nothing.
struct CallMetadata {
  std::string authorization = {};  ///< "Bearer TOKEN"
  std::string traceparent = {};
  std::string request_id = {};
  std::string peer = {};  ///< the caller's address
};

/// With a traceparent that is valid or empty, and a request id that is valid: else a random one.
CallMetadata Checked(CallMetadata metadata);

/// Whether `text` is a traceparent of W3C Trace Context, level 1: of version 00, or of a later one
/// that begins like it.
bool IsTraceparent(std::string_view text);

/// 1 to 128 characters of A-Z a-z 0-9 and ._:/+=- : what may stand in a log as it is.
bool IsRequestId(std::string_view text);

}  // namespace fmaserver::service
