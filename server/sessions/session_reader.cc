#include "server/sessions/session_reader.h"

#include <utility>
#include <variant>

#include "base/clock.h"
#include "base/text.h"
#include "server/sessions/session_name.h"

namespace fmaserver::sessions {
namespace {

absl::Status NotFound(const SessionName& name) {
  return absl::NotFoundError(Concat(Describe(name), ": there is none"));
}

engine::State StateOf(const Point& point, std::vector<engine::SnapshotPtr> bytes) {
  engine::State state(std::move(bytes.front()));
  for (size_t i = 0; i < point.archive.size(); ++i) {
    const Part& chunk = *point.archive[i];
    state.archive.push_back(std::make_shared<engine::ArchiveChunk>(engine::ArchiveChunk{
        .id = chunk.id, .begin = chunk.begin, .bytes = std::move(bytes[i + 1])}));
  }
  return state;
}

}  // namespace

absl::Status InUse(const SessionName& name) {
  return absl::AbortedError(Concat(Describe(name), ": another call is using it"));
}

absl::Status AlreadyExists(const SessionName& name) {
  return absl::AlreadyExistsError(Concat(Describe(name), ": there is one already"));
}

absl::Status SessionReader::Refresh(const ChangeClaim& claim) {
  if (shelf_ == nullptr) return absl::OkStatus();
  const Version known = table_.HoldingOf(claim).version;
  absl::StatusOr<std::optional<StoredSession>> stored = shelf_->Read(claim.name(), known);
  if (stored.ok()) {
    if (!stored->has_value()) return absl::OkStatus();
    SessionContents& contents = (*stored)->contents;
    std::vector<PartPtr> parts = PartsOf(contents.points);
    table_.Set(claim, {.contents = std::move(contents),
                       .durable = true,
                       .version = std::move((*stored)->version),
                       .saved = std::move(parts)});
    return absl::OkStatus();
  }
  if (absl::IsNotFound(stored.status())) {
    // Another server has removed it, unless it was never on the shelf.
    if (known != Version()) table_.Erase(claim);
    return absl::OkStatus();
  }
  if (absl::IsUnavailable(stored.status())) {
    // A known session goes on without the shelf.
    return table_.Exists(claim) ? absl::OkStatus() : stored.status();
  }
  table_.Erase(claim);
  return stored.status();
}

absl::StatusOr<SessionTable::AnyClaim> SessionReader::Find(const SessionName& name) {
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  for (;;) {
    SessionTable::AnyClaim claim = table_.Take(name);
    const auto* change = std::get_if<ChangeClaim>(&claim);
    if (change == nullptr) return claim;
    if (absl::Status status = Refresh(*change); !status.ok()) return status;
    if (!table_.Exists(*change)) return NotFound(name);
    if (!table_.IsExpired(*change)) return claim;
    // ABORTED: another server has used it, so look at its new record.
    if (!absl::IsAborted(writer_.Remove(*change))) return NotFound(name);
  }
}

absl::StatusOr<ReadClaim> SessionReader::FindToRead(const SessionName& name) {
  absl::StatusOr<SessionTable::AnyClaim> claim = Find(name);
  if (!claim.ok()) return claim.status();
  if (auto* read = std::get_if<ReadClaim>(&*claim)) return std::move(*read);
  return table_.ToRead(std::get<ChangeClaim>(*std::move(claim)));
}

absl::StatusOr<ChangeClaim> SessionReader::FindToChange(const SessionName& name) {
  absl::StatusOr<SessionTable::AnyClaim> claim = Find(name);
  if (!claim.ok()) return claim.status();
  if (auto* change = std::get_if<ChangeClaim>(&*claim)) return std::move(*change);
  return InUse(name);
}

absl::StatusOr<ChangeClaim> SessionReader::ClaimNew(const SessionName& name) {
  const absl::StatusOr<SessionTable::AnyClaim> found = Find(name);
  if (found.ok()) return AlreadyExists(name);
  if (!absl::IsNotFound(found.status())) return found.status();
  SessionTable::AnyClaim claim = table_.Take(name);
  auto* change = std::get_if<ChangeClaim>(&claim);
  if (change == nullptr || table_.Exists(*change)) return AlreadyExists(name);
  return std::move(*change);
}

absl::StatusOr<SessionContents> SessionReader::Load(const Claim& claim) {
  Holding holding = table_.HoldingOf(claim);
  if (holding.contents.tail != nullptr) return std::move(holding.contents);
  auto tail = shelf_->ReadTail(claim.name(), holding.version);
  if (absl::IsNotFound(tail.status())) {
    return absl::AbortedError(Concat(Describe(claim.name()), ": another server removed it"));
  }
  if (!tail.ok()) return tail.status();
  table_.Attach(claim, *std::move(tail));
  return table_.HoldingOf(claim).contents;
}

absl::StatusOr<std::unique_ptr<OpenPart>> SessionReader::Open(const Claim& claim,
                                                              const PartPtr& part) {
  auto open = shelf_->Open(claim.name(), part);
  if (open.ok()) return open;
  // Another server may have changed the session and removed states that it no longer holds.
  const auto stored = shelf_->Read(claim.name(), table_.HoldingOf(claim).version);
  if (absl::IsNotFound(stored.status()) || (stored.ok() && stored->has_value())) {
    return absl::AbortedError(Concat(Describe(claim.name()), ": another server is using it"));
  }
  return open;
}

absl::StatusOr<std::vector<HeldPart>> SessionReader::Hold(const Claim& claim,
                                                          const std::vector<PartPtr>& parts) {
  std::vector<engine::SnapshotPtr> bytes = table_.BytesOf(claim, parts);
  std::vector<HeldPart> held;
  for (size_t i = 0; i < parts.size(); ++i) {
    held.push_back({.part = parts[i], .bytes = std::move(bytes[i]), .open = nullptr});
    if (held.back().bytes != nullptr) continue;
    auto open = Open(claim, parts[i]);
    if (!open.ok()) return open.status();
    held.back().open = *std::move(open);
  }
  return held;
}

absl::StatusOr<engine::State> SessionReader::LoadState(const Claim& claim, const Point& point) {
  const Clock::time_point start = Clock::now();
  const std::vector<PartPtr> parts = PartsOf(point);
  std::vector<engine::SnapshotPtr> bytes = table_.BytesOf(claim, parts);
  bool restored = false;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (bytes[i] != nullptr) continue;
    const auto open = Open(claim, parts[i]);
    if (!open.ok()) return open.status();
    absl::StatusOr<engine::SnapshotPtr> read = (*open)->Read();
    if (!read.ok()) return read.status();
    table_.Attach(claim, parts[i], *read);
    bytes[i] = *std::move(read);
    restored = true;
  }
  if (restored) observer_.OnRestore(SecondsSince(start));
  return StateOf(point, std::move(bytes));
}

}  // namespace fmaserver::sessions
