// What a text field of a message says, before the message is parsed: which model it asks for.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <span>
#include <string>

namespace fmaserver::rpc {

/// The text of a field of the message in `bytes`, or empty. `path` is the field's number, after
/// those of the messages that it is in. Takes time by the number of the
/// message's fields and not by what they hold, so that whoever the model refuses is refused before
/// their text is looked at. Compressed bytes have to be inflated for it, in little memory. What is
/// no message, or one of more than `max_bytes`, says nothing here, and is refused when it is
/// parsed.
std::string TextField(const grpc::ByteBuffer& bytes, size_t max_bytes, std::span<const int> path);

}  // namespace fmaserver::rpc
