#include "server/sessions/record.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "base/refusal.h"
#include "base/sha256.h"
#include "base/text.h"

namespace fmaserver::sessions {
namespace {

constexpr std::string_view kMagic = "FMASESS\n";
constexpr size_t kPrefixBytes = kMagic.size() + 8;

void AppendU32(uint32_t value, std::string& out) {
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift & 0xFF);
}

uint32_t ReadU32(std::string_view bytes) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

uint32_t FormatOf(std::string_view head) { return ReadU32(head.substr(kMagic.size())); }
uint32_t HeaderBytesOf(std::string_view head) { return ReadU32(head.substr(kMagic.size() + 4)); }

std::string DigestOf(std::string_view head, std::span<const std::byte> payload) {
  Sha256 hash;
  hash.Update(head);
  hash.Update(payload);
  return hash.Digest();
}

// The oldest version that has all the fields that this header uses.
uint32_t VersionFor(const internal::RecordHeader& header) {
  const internal::SessionRecord& session = header.session();
  if (session.note_bytes() > 0) return kNoteRecordVersion;
  const bool has_chunks = header.has_chunk() || !session.chunks().empty();
  return has_chunks || session.interruption().request_format() != 0 ? kArchiveRecordVersion
                                                                    : kFirstRecordVersion;
}

}  // namespace

SealedRecord SealRecord(internal::RecordHeader header, std::span<const std::byte> payload) {
  header.set_payload_bytes(payload.size());
  const std::string encoded = header.SerializeAsString();
  SealedRecord record;
  record.head = kMagic;
  AppendU32(VersionFor(header), record.head);
  AppendU32(static_cast<uint32_t>(encoded.size()), record.head);
  record.head += encoded;
  record.head += Sha256Of(record.head);
  record.payload = payload;
  record.digest = DigestOf(record.head, payload);
  return record;
}

int64_t RecordBytes(internal::RecordHeader header, int64_t payload_bytes) {
  header.set_payload_bytes(static_cast<uint64_t>(payload_bytes));
  return static_cast<int64_t>(kPrefixBytes + header.ByteSizeLong() + 2 * kSha256Bytes) +
         payload_bytes;
}

bool RecordReader::Fill(std::string_view& bytes, size_t size) {
  const size_t taken = std::min(size - buffer_.size(), bytes.size());
  buffer_.append(bytes.data(), taken);
  bytes.remove_prefix(taken);
  return buffer_.size() == size;
}

absl::StatusOr<RecordReader::Event> RecordReader::Read(std::string_view& bytes) {
  if (stage_ == Stage::kPrefix) {
    if (!Fill(bytes, kPrefixBytes)) return Event::kNeedsMore;
    if (absl::Status status = TakePrefix(); !status.ok()) return status;
  }
  if (stage_ == Stage::kHeader) {
    if (!Fill(bytes, head_bytes_)) return Event::kNeedsMore;
    if (absl::Status status = TakeHeader(); !status.ok()) return status;
    return Event::kHeader;
  }
  if (stage_ == Stage::kPayload) {
    const size_t taken = std::min(payload_.size() - filled_, bytes.size());
    if (taken > 0) std::memcpy(payload_.data() + filled_, bytes.data(), taken);
    bytes.remove_prefix(taken);
    filled_ += taken;
    if (filled_ < payload_.size()) return Event::kNeedsMore;
    stage_ = Stage::kDigest;
  }
  if (stage_ == Stage::kDigest) {
    if (!Fill(bytes, kSha256Bytes)) return Event::kNeedsMore;
    if (absl::Status status = TakeDigest(); !status.ok()) return status;
    stage_ = Stage::kDone;
  }
  return Event::kDone;
}

absl::Status RecordReader::TakePrefix() {
  const std::string_view magic = std::string_view(buffer_).substr(0, kMagic.size());
  if (magic != kMagic) return Refusal("start of a record", magic, Quoted(kMagic));
  const uint32_t header_bytes = HeaderBytesOf(buffer_);
  if (header_bytes > kMaxRecordHeaderBytes) {
    return At("damaged", Refusal("header", Words{Concat(header_bytes, " bytes")},
                                 Concat("up to ", kMaxRecordHeaderBytes)));
  }
  head_bytes_ = kPrefixBytes + header_bytes + kSha256Bytes;
  stage_ = Stage::kHeader;
  return absl::OkStatus();
}

absl::Status RecordReader::TakeHeader() {
  const std::string_view head(buffer_);
  if (Sha256Of(head.substr(0, head.size() - kSha256Bytes)) !=
      head.substr(head.size() - kSha256Bytes)) {
    return absl::InvalidArgumentError("damaged: the header does not match its checksum");
  }
  const uint32_t format = FormatOf(head);
  if (format != kFirstRecordVersion && format != kArchiveRecordVersion &&
      format != kNoteRecordVersion) {
    return Refusal(
        "format version", format,
        Concat(kFirstRecordVersion, ", ", kArchiveRecordVersion, " or ", kNoteRecordVersion),
        absl::StatusCode::kFailedPrecondition);
  }
  const std::string_view encoded = head.substr(kPrefixBytes, HeaderBytesOf(head));
  if (!header_.ParseFromArray(encoded.data(), static_cast<int>(encoded.size())) ||
      header_.payload_bytes() > uint64_t{std::numeric_limits<int64_t>::max()}) {
    return absl::InvalidArgumentError("damaged: the header cannot be read");
  }
  if (header_.model() != model_) {
    return Refusal("model", Words{"another model"},
                   "the one that is served, with its types of cache, archive and weights",
                   absl::StatusCode::kFailedPrecondition);
  }
  head_ = std::exchange(buffer_, {});
  stage_ = Stage::kPayload;
  return absl::OkStatus();
}

absl::Status RecordReader::TakeDigest() const {
  if (DigestOf(head_, payload_) == buffer_) return absl::OkStatus();
  return absl::InvalidArgumentError("damaged: the contents do not match their checksum");
}

}  // namespace fmaserver::sessions
