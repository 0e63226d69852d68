// The one format of session files and blobs: docs/sessions.md, "The format".
//
//   magic, 8 bytes | version, u32 | header bytes, u32 | header, a RecordHeader
//   SHA-256 of all before | payload | SHA-256 of all before
//
// All numbers are little-endian. A file is one record; a blob is a sequence of records. The header
// has a digest of its own, so that a directory can be listed without reading the states. In all
// versions everything before the payload is the same, except for the contents of the header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fma/internal/session_file.pb.h"
#include "server/sessions/session_model.h"

namespace fmaserver::sessions {

/// The versions that can be read. A record is written in the oldest version that can express it, so
/// that a server of the previous release can read it too.
inline constexpr uint32_t kFirstRecordVersion = 1;
inline constexpr uint32_t kArchiveRecordVersion = 3;  // 2 was never released
inline constexpr uint32_t kNoteRecordVersion = 4;
inline constexpr uint32_t kTypeRecordVersion = 5;
inline constexpr uint32_t kMaxRecordHeaderBytes = 1U << 22;

/// Returns memory for the payload that the header announces, or why there is none.
using AllocatePayload =
    absl::FunctionRef<absl::StatusOr<std::span<std::byte>>(const internal::RecordHeader&)>;

/// A record to write: these three, one after the other.
struct SealedRecord {
  std::string head;
  std::span<const std::byte> payload;  ///< the caller's
  std::string digest;

  size_t size() const { return head.size() + payload.size() + digest.size(); }
};

/// Sets payload_bytes in `header`.
SealedRecord SealRecord(internal::RecordHeader header, std::span<const std::byte> payload);

/// The size of a record with this header and a payload of so many bytes.
int64_t RecordBytes(internal::RecordHeader header, int64_t payload_bytes);

/// Takes one record apart while its bytes arrive, in pieces of any size. Trusts nothing, and
/// allocates no more than kMaxRecordHeaderBytes.
class RecordReader {
 public:
  enum class Event { kNeedsMore, kHeader, kDone };

  /// `model` is the one that the record must be of; it outlives the reader.
  explicit RecordReader(const SessionModel& model) : model_(model) {}

  /// Consumes from the front of `bytes` up to the next event. After kHeader, SetPayload must follow
  /// before the next call. INVALID_ARGUMENT for bytes that are damaged or not a record;
  /// FAILED_PRECONDITION for a sound header of another version or model.
  absl::StatusOr<Event> Read(std::string_view& bytes);

  /// May be called after kHeader.
  const internal::RecordHeader& header() const { return header_; }

  /// Where the payload goes: header().payload_bytes() bytes of the caller.
  void SetPayload(std::span<std::byte> payload) { payload_ = payload; }

  /// Whether no byte of a record has been read yet.
  bool at_start() const { return stage_ == Stage::kPrefix && buffer_.empty(); }

 private:
  enum class Stage { kPrefix, kHeader, kPayload, kDigest, kDone };

  /// Takes bytes into buffer_ until it has `size` of them; returns whether it has.
  bool Fill(std::string_view& bytes, size_t size);
  absl::Status TakePrefix();
  absl::Status TakeHeader();
  absl::Status TakeDigest() const;

  const SessionModel& model_;
  Stage stage_ = Stage::kPrefix;
  std::string buffer_;  // as much as has arrived of the head, then of the digest after the payload
  size_t head_bytes_ = 0;
  internal::RecordHeader header_;
  std::span<std::byte> payload_;
  size_t filled_ = 0;  // of payload_
  std::string head_;   // prefix, header and its digest
};

}  // namespace fmaserver::sessions
