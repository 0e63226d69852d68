// Which model a message asks for, before the message is parsed.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <string>

namespace fmaserver::rpc {

/// The text of field `field` of the message in `bytes`, or empty. Takes time by the number of the
/// message's fields and not by what they hold, so that whoever the model refuses is refused before
/// their text is looked at. What is no message says nothing here, and is refused when it is parsed.
std::string ModelField(const grpc::ByteBuffer& bytes, int field);

}  // namespace fmaserver::rpc
