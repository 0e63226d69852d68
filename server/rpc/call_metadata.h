// What a call's metadata says of it, checked.
#pragma once

#include <grpcpp/server_context.h>

#include <string>
#include <string_view>

namespace fmaserver::rpc {

struct CallMetadata {
  std::string authorization;
  std::string traceparent;  ///< empty: none, or not valid
  std::string request_id;   ///< of "x-request-id", else random
  std::string peer;
};

CallMetadata MetadataOf(const grpc::ServerContextBase& context);

/// Whether `text` is a traceparent of W3C Trace Context, level 1: of version 00, or of a later one
/// that begins like it.
bool IsTraceparent(std::string_view text);

/// 1 to 128 characters of A-Z a-z 0-9 and ._:/+=- : what may stand in a log as it is.
bool IsRequestId(std::string_view text);

}  // namespace fmaserver::rpc
