// Gzip and deflate as a stream of the bytes that they stand for.
#pragma once

#include <google/protobuf/io/zero_copy_stream.h>
#include <zlib.h>

#include <array>
#include <cstdint>

namespace fmaserver::rpc {

/// Protobuf's own stream takes data that break off for complete.
class InflatedStream final : public google::protobuf::io::ZeroCopyInputStream {
 public:
  /// `source` outlives it, and gives one gzip or zlib stream ("deflate" is what gRPC calls that).
  explicit InflatedStream(ZeroCopyInputStream& source);
  ~InflatedStream() override { inflateEnd(&zlib_); }
  InflatedStream(const InflatedStream&) = delete;
  InflatedStream& operator=(const InflatedStream&) = delete;

  /// False at the end, be it a good one (complete()) or not.
  bool Next(const void** data, int* size) override;
  void BackUp(int count) override { kept_ = count; }
  bool Skip(int count) override;
  int64_t ByteCount() const override { return total_ - kept_; }

  /// Whether the data came to their end, with the right checksum and nothing behind it.
  bool complete() const { return ended_ && zlib_.avail_in == 0; }

 private:
  /// Fills the block; its size, 0 at the end.
  int Fill();

  ZeroCopyInputStream& source_;
  z_stream zlib_{};
  std::array<uint8_t, 64 << 10> block_;
  int size_ = 0;  // of what the block holds
  int kept_ = 0;  // of that, what was handed back
  int64_t total_ = 0;
  bool ended_ = false;
};

}  // namespace fmaserver::rpc
