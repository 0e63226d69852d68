#include "server/sessions/session_export.h"

#include <algorithm>
#include <span>
#include <utility>

#include "server/sessions/session_codec.h"

namespace fmaserver::sessions {

SessionExport::SessionExport(const SessionModel& model, const SessionContents& contents,
                             std::vector<HeldPart> parts)
    : model_(model), parts_(std::move(parts)), session_payload_(SessionPayload(*contents.tail)) {
  record_ = SealRecord(SessionHeader(contents, model_), std::as_bytes(std::span(session_payload_)));
  pieces_ = {record_.digest, session_payload_, record_.head};
}

absl::Status SessionExport::OpenRecord() {
  HeldPart part = std::exchange(parts_[next_part_++], {});
  absl::StatusOr<engine::SnapshotPtr> read =
      part.bytes ? part.bytes.Read() : part.open->Read(*part.part);
  if (!read.ok()) return read.status();
  bytes_ = *std::move(read);
  record_ = SealRecord(PartHeader(*part.part, model_), bytes_->bytes());
  pieces_ = {record_.digest,
             {reinterpret_cast<const char*>(record_.payload.data()), record_.payload.size()},
             record_.head};
  return absl::OkStatus();
}

absl::StatusOr<std::string> SessionExport::Next(size_t max_bytes) {
  std::string bytes;
  while (bytes.size() < max_bytes) {
    if (pieces_.empty()) {
      if (next_part_ == parts_.size()) break;
      if (absl::Status status = OpenRecord(); !status.ok()) return status;
    }
    std::string_view& piece = pieces_.back();
    const size_t taken = std::min(piece.size(), max_bytes - bytes.size());
    bytes.append(piece.data(), taken);
    piece.remove_prefix(taken);
    if (piece.empty()) pieces_.pop_back();
  }
  return bytes;
}

}  // namespace fmaserver::sessions
