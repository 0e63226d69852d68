#include "server/sessions/session_reader.h"

#include <algorithm>
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
    std::vector<ShelfItem> items = ItemsOf(contents);
    table_.Set(claim, {.contents = std::move(contents),
                       .durable = true,
                       .version = std::move((*stored)->version),
                       .saved = std::move(items)});
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
    if (change == nullptr) {
      // The turn may be one that makes the session.
      const bool exists = table_.Exists(std::get<ReadClaim>(claim));
      return exists ? absl::StatusOr<SessionTable::AnyClaim>(std::move(claim)) : NotFound(name);
    }
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

absl::StatusOr<std::vector<HeldPart>> SessionReader::Hold(const Claim& claim,
                                                          const std::vector<PartPtr>& parts) {
  std::vector<PartBytes> bytes = table_.BytesOf(claim, parts);
  std::vector<HeldPart> held;
  PartOpener opener(loader_, claim);
  for (size_t i = 0; i < parts.size(); ++i) {
    held.push_back({.part = parts[i], .bytes = std::move(bytes[i]), .open = nullptr});
    if (held.back().bytes) continue;
    auto open = opener.Open(*parts[i]);
    if (!open.ok()) return open.status();
    held.back().open = *std::move(open);
  }
  return held;
}

absl::StatusOr<LoadedState> SessionReader::LoadState(const Claim& claim,
                                                     const SessionContents& contents,
                                                     const Point& point, bool with_archive) {
  const Clock::time_point start = Clock::now();
  std::vector<PartPtr> parts = {point.slot};
  if (with_archive && loader_.has_archives()) parts = PartsOf(contents, point);
  const std::vector<PartBytes> known = table_.BytesOf(claim, parts);
  absl::StatusOr<std::vector<PartBytes>> bytes = loader_.Load(claim, parts);
  if (!bytes.ok()) return bytes.status();
  LoadedState loaded{.state = engine::State(std::move(bytes->front().slot))};
  loaded.from_shelf = !std::ranges::all_of(known, [](const PartBytes& part) { return bool(part); });
  if (loaded.from_shelf) observer_.OnRestore(SecondsSince(start));
  for (size_t i = 1; i < bytes->size(); ++i) {
    loaded.state.archive.push_back(std::move((*bytes)[i].chunk));
  }
  return loaded;
}

}  // namespace fmaserver::sessions
