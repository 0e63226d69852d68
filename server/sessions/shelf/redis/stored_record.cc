#include "server/sessions/shelf/redis/stored_record.h"

#include <cstddef>
#include <span>

#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::sessions {
namespace {

absl::Status ReadUntil(RecordReader::Event wanted, RecordReader& reader, std::string_view& bytes) {
  const auto event = reader.Read(bytes);
  if (!event.ok()) return event.status();
  return *event == wanted ? absl::OkStatus() : absl::InvalidArgumentError("damaged: cut short");
}

}  // namespace

std::string BytesOf(const SealedRecord& record) {
  std::string bytes;
  bytes.reserve(record.size());
  bytes += record.head;
  bytes.append(reinterpret_cast<const char*>(record.payload.data()), record.payload.size());
  bytes += record.digest;
  return bytes;
}

absl::StatusOr<internal::RecordHeader> ReadStoredHeader(std::string_view bytes,
                                                        const SessionModel& model) {
  RecordReader reader(model);
  if (absl::Status status = ReadUntil(RecordReader::Event::kHeader, reader, bytes); !status.ok())
    return status;
  return reader.header();
}

absl::Status ReadStoredRecord(std::string_view bytes, const SessionModel& model,
                              AllocatePayload allocate) {
  RecordReader reader(model);
  if (absl::Status status = ReadUntil(RecordReader::Event::kHeader, reader, bytes); !status.ok())
    return status;
  // Before the payload is allocated: the header may say anything.
  if (reader.header().payload_bytes() > bytes.size()) {
    return absl::InvalidArgumentError("damaged: cut short");
  }
  const absl::StatusOr<std::span<std::byte>> payload = allocate(reader.header());
  if (!payload.ok()) return payload.status();
  reader.SetPayload(*payload);
  if (absl::Status status = ReadUntil(RecordReader::Event::kDone, reader, bytes); !status.ok())
    return status;
  if (bytes.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      Concat("damaged: ", bytes.size(), " bytes behind the end of the record"));
}

}  // namespace fmaserver::sessions
