#include "server/sessions/part_loader.h"

#include <utility>

#include "base/text.h"
#include "server/sessions/session_name.h"

namespace fmaserver::sessions {

namespace {

absl::StatusOr<PartBytes> LoadPart(const OpenItem& item, const Part& part,
                                   engine::ArchiveRoom* room) {
  const absl::StatusOr<engine::SnapshotPtr> read = item.Read(part);
  if (!read.ok()) return read.status();
  if (part.kind == Part::Kind::kSlot) return *read;
  return room->Restore(part.begin, **read);
}

}  // namespace

absl::StatusOr<std::unique_ptr<OpenItem>> PartLoader::Open(const Claim& claim,
                                                           const ShelfItem& item) const {
  if (shelf_ == nullptr) {
    return absl::DataLossError(Concat(Describe(claim.name()), ": the disk has lost its archive"));
  }
  auto open = shelf_->Open(claim.name(), item);
  if (open.ok()) return open;
  // Another server may have changed the session and removed states that it no longer holds.
  const auto stored = shelf_->Read(claim.name(), table_.HoldingOf(claim).version);
  if (absl::IsNotFound(stored.status()) || (stored.ok() && stored->has_value())) {
    return absl::AbortedError(Concat(Describe(claim.name()), ": another server is using it"));
  }
  return open;
}

absl::StatusOr<std::unique_ptr<engine::ArchiveRoom>> PartLoader::MakeRoom(const Claim& claim,
                                                                          int64_t chunks) const {
  if (chunks == 0) return nullptr;
  if (archives_ != nullptr) return archives_->MakeRoom(claim.name().tenant, chunks);
  return absl::FailedPreconditionError(Concat(
      Describe(claim.name()), ": it has an archive, and this server keeps none for its model"));
}

absl::StatusOr<std::vector<PartBytes>> PartLoader::Load(const Claim& claim,
                                                        const std::vector<PartPtr>& parts) const {
  std::vector<PartBytes> bytes = table_.BytesOf(claim, parts);
  int64_t chunks = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    chunks += !bytes[i] && parts[i]->kind == Part::Kind::kChunk;
  }
  const auto room = MakeRoom(claim, chunks);
  if (!room.ok()) return room.status();
  PartOpener opener(*this, claim);
  for (size_t i = 0; i < parts.size(); ++i) {
    if (bytes[i]) continue;
    const auto item = opener.Open(*parts[i]);
    if (!item.ok()) return item.status();
    absl::StatusOr<PartBytes> loaded = LoadPart(**item, *parts[i], room->get());
    if (!loaded.ok()) return loaded.status();
    table_.Attach(claim, parts[i], *loaded);
    bytes[i] = *std::move(loaded);
  }
  return bytes;
}

absl::StatusOr<std::shared_ptr<OpenItem>> PartOpener::Open(const Part& part) {
  const ShelfItem item{.kind = part.kind, .id = part.id};
  if (open_ == nullptr || item != item_) {
    absl::StatusOr<std::unique_ptr<OpenItem>> open = loader_.Open(claim_, item);
    if (!open.ok()) return open.status();
    open_ = *std::move(open);
    item_ = item;
  }
  return open_;
}

}  // namespace fmaserver::sessions
