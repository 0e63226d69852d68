// The one format of session files and blobs: docs/sessions.md, "The format".
//
//   magic, 8 bytes | version, u32 | header bytes, u32 | header, a RecordHeader
//   SHA-256 of all before | payload | SHA-256 of all before
//
// All numbers are little-endian. A file is one record; a blob is one after the other. The header
// has a digest of its own, so that a directory can be listed without reading the states. All
// versions share what precedes the payload, but for the header's contents.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fma/internal/session_file.pb.h"

namespace fmaserver::sessions {

/// Of the formats that are read. A record is written in the oldest that can say it, so that servers
/// of the release before can go on with it.
inline constexpr uint32_t kFirstRecordVersion = 1;
inline constexpr uint32_t kRecordVersion = 2;
inline constexpr uint32_t kMaxRecordHeaderBytes = 1U << 18;

/// A record to write: these three, one after the other.
struct SealedRecord {
  std::string head;
  std::span<const std::byte> payload;  ///< the caller's
  std::string digest;

  size_t size() const { return head.size() + payload.size() + digest.size(); }
};

/// `header` gets payload_bytes set.
SealedRecord SealRecord(internal::RecordHeader header, std::span<const std::byte> payload);

/// Takes one record apart, from bytes that arrive in pieces of any size. Trusts nothing, and
/// allocates no more than kMaxRecordHeaderBytes.
class RecordReader {
 public:
  enum class Event { kNeedsMore, kHeader, kDone };

  /// `model` is the fingerprint that the record must have; it outlives the reader.
  explicit RecordReader(std::string_view model) : model_(model) {}

  /// Consumes from the front of `bytes` up to the next event. After kHeader, SetPayload must follow
  /// before the next call. INVALID_ARGUMENT for what is damaged or no record; FAILED_PRECONDITION
  /// for a sound header of another version or model.
  absl::StatusOr<Event> Read(std::string_view& bytes);

  /// After kHeader.
  const internal::RecordHeader& header() const { return header_; }

  /// Where the payload goes: header().payload_bytes() bytes of the caller.
  void SetPayload(std::span<std::byte> payload) { payload_ = payload; }

  /// Whether it stands before the first byte of a record.
  bool at_start() const { return part_ == Part::kPrefix && buffer_.empty(); }

 private:
  enum class Part { kPrefix, kHeader, kPayload, kDigest, kDone };

  /// Takes what is missing of `size` bytes into buffer_; whether it is complete.
  bool Fill(std::string_view& bytes, size_t size);
  absl::Status TakePrefix();
  absl::Status TakeHeader();
  absl::Status TakeDigest() const;

  const std::string_view model_;
  Part part_ = Part::kPrefix;
  std::string buffer_;  // what has arrived of the head, then of the digest behind the payload
  size_t head_bytes_ = 0;
  internal::RecordHeader header_;
  std::span<std::byte> payload_;
  size_t filled_ = 0;  // of payload_
  std::string head_;   // prefix, header and its digest
};

}  // namespace fmaserver::sessions
