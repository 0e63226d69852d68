// Which model a message asks for, before the message is parsed.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <string>

namespace fmaserver::rpc {

/// The text of field `field` of the message in `bytes`, or empty. It takes time in proportion to
/// the number of the message's fields and not to their contents, so that a request that the model
/// refuses is refused before its text is read. Bytes that are not a message give an empty text, and
/// are refused when they are parsed.
std::string ModelField(const grpc::ByteBuffer& bytes, int field);

}  // namespace fmaserver::rpc
