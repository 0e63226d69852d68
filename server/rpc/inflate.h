// Messages that a client compressed.
//
// gRPC would inflate them itself, but without a bound, and before anybody is asked for a token: a
// mebibyte of gzip is a gibibyte of message. So it hands them on as they came (rpc_server.cc), and
// they are inflated here, where the call is admitted, up to the size that a request may have.
#pragma once

#include <google/protobuf/io/zero_copy_stream.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <cstddef>
#include <optional>

#include "absl/status/statusor.h"
#include "server/rpc/inflated_stream.h"

namespace fmaserver::rpc {

/// Reads a message as it was before it was compressed, in little memory.
class MessageStream {
 public:
  explicit MessageStream(const grpc::ByteBuffer& bytes);

  google::protobuf::io::ZeroCopyInputStream& stream();
  bool compressed() const { return inflated_.has_value(); }
  /// Whether a compressed message ended well; once its stream has ended.
  bool complete() const { return inflated_->complete(); }

 private:
  /// Knows the encoding, which gRPC keeps with the bytes.
  class Reader : public grpc::ProtoBufferReader {
   public:
    using ProtoBufferReader::ProtoBufferReader;
    bool compressed() { return reader()->buffer_in->data.raw.compression != GRPC_COMPRESS_NONE; }
  };

  grpc::ByteBuffer bytes_;  // shared with the caller's
  Reader reader_;
  std::optional<InflatedStream> inflated_;
};

/// How much there is to read, for service::Service::Read: compressed bytes are more than they seem,
/// and not for gRPC's threads.
size_t BytesToRead(const grpc::ByteBuffer& bytes);

/// `bytes` as they were before they were compressed; as they are when they were not.
/// RESOURCE_EXHAUSTED for more than `max_bytes`, INVALID_ARGUMENT for damaged ones.
absl::StatusOr<grpc::ByteBuffer> Inflate(const grpc::ByteBuffer& bytes, size_t max_bytes);

}  // namespace fmaserver::rpc
