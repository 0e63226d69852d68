// Protobuf messages in and out of gRPC's byte buffers.
//
// The service takes raw bytes because gRPC's callback API answers a request that does not parse
// with UNIMPLEMENTED and no message; here it gets INVALID_ARGUMENT and the reason.
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include <cstddef>

#include "absl/status/status.h"

namespace fmaserver::rpc {

/// Parses `bytes`, which may be compressed, into `message`. INVALID_ARGUMENT names the text field
/// and the byte offset where it is no UTF-8, or says that the bytes are no such message;
/// RESOURCE_EXHAUSTED when they are compressed and more than `max_bytes`.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, size_t max_bytes,
                          google::protobuf::Message& message);

grpc::ByteBuffer SerializeMessage(const google::protobuf::MessageLite& message);

}  // namespace fmaserver::rpc
