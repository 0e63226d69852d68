#include "server/sessions/session_export.h"

#include <algorithm>
#include <span>
#include <utility>

#include "server/sessions/session_codec.h"

namespace fmaserver::sessions {

SessionExport::SessionExport(const SessionModel& model, const SessionDirectory* directory,
                             SessionContents contents, std::vector<State> states)
    : model_(model),
      directory_(directory),
      contents_(std::move(contents)),
      states_(std::move(states)),
      session_payload_(SessionPayload(*contents_.tail)) {
  record_ =
      SealRecord(SessionHeader(contents_, model_), std::as_bytes(std::span(session_payload_)));
  parts_ = {record_.digest, session_payload_, record_.head};
}

absl::Status SessionExport::OpenRecord() {
  State& state = states_[next_state_++];
  snapshot_ = std::move(state.snapshot);
  if (snapshot_ == nullptr) {
    absl::StatusOr<engine::SnapshotPtr> read = directory_->ReadState(*state.file, *state.point);
    if (!read.ok()) return read.status();
    snapshot_ = *std::move(read);
    state.file.reset();
  }
  record_ = SealRecord(StateHeader(*state.point, model_), snapshot_->bytes());
  parts_ = {record_.digest,
            {reinterpret_cast<const char*>(record_.payload.data()), record_.payload.size()},
            record_.head};
  return absl::OkStatus();
}

absl::StatusOr<std::string> SessionExport::Next(size_t max_bytes) {
  std::string piece;
  while (piece.size() < max_bytes) {
    if (parts_.empty()) {
      if (next_state_ == states_.size()) break;
      if (absl::Status status = OpenRecord(); !status.ok()) return status;
    }
    std::string_view& part = parts_.back();
    const size_t taken = std::min(part.size(), max_bytes - piece.size());
    piece.append(part.data(), taken);
    part.remove_prefix(taken);
    if (part.empty()) parts_.pop_back();
  }
  return piece;
}

}  // namespace fmaserver::sessions
