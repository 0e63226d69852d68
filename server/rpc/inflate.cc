#include "server/rpc/inflate.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/refusal.h"

namespace fmaserver::rpc {

MessageStream::MessageStream(const grpc::ByteBuffer& bytes) : bytes_(bytes), reader_(&bytes_) {
  if (reader_.status().ok() && reader_.compressed()) inflated_.emplace(reader_);
}

google::protobuf::io::ZeroCopyInputStream& MessageStream::stream() {
  if (inflated_.has_value()) return *inflated_;
  return reader_;
}

size_t BytesToRead(const grpc::ByteBuffer& bytes) {
  constexpr size_t kNotQuick = size_t{64} << 10;
  const size_t length = bytes.Length();
  return MessageStream(bytes).compressed() ? std::max(length, kNotQuick) : length;
}

absl::StatusOr<grpc::ByteBuffer> Inflate(const grpc::ByteBuffer& bytes, size_t max_bytes) {
  MessageStream message(bytes);
  if (!message.compressed()) return bytes;
  std::vector<grpc::Slice> slices;
  size_t total = 0;
  const void* data = nullptr;
  for (int size = 0; message.stream().Next(&data, &size);) {
    total += static_cast<size_t>(size);
    if (total > max_bytes) {
      return Refusal("request", Words{absl::StrCat("more than ", max_bytes, " bytes, inflated")},
                     absl::StrCat("at most ", max_bytes, " (max-request-bytes)"),
                     absl::StatusCode::kResourceExhausted);
    }
    slices.emplace_back(data, static_cast<size_t>(size));
  }
  if (!message.complete()) {
    return Refusal("request", Words{"compressed, and damaged"}, "whole gzip or deflate data");
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

}  // namespace fmaserver::rpc
