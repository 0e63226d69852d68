// Chunks of archives without an engine: they keep the bytes that they are given.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "server/engine/archive.h"

namespace fmaserver::testing {

class FakeChunk final : public engine::ArchiveChunk {
 public:
  FakeChunk(int64_t begin, engine::SnapshotPtr bytes)
      : ArchiveChunk(begin, bytes->tokens(), std::ssize(bytes->bytes())),
        bytes_(std::move(bytes)) {}

  absl::StatusOr<engine::SnapshotPtr> Save() const override { return bytes_; }

  const engine::Snapshot& snapshot() const { return *bytes_; }

 private:
  const engine::SnapshotPtr bytes_;
};

/// Takes chunks of any shape, up to a number of them at a time.
class FakeArchives final : public engine::ArchiveSource {
 public:
  absl::Status CheckChunk(uint64_t, uint64_t) const override { return absl::OkStatus(); }

  absl::StatusOr<std::unique_ptr<engine::ArchiveRoom>> MakeRoom(const std::string&,
                                                                int64_t chunks) override {
    if (chunks > most) return absl::ResourceExhaustedError("archives are full");
    return std::make_unique<Room>(*this);
  }

  std::atomic<int64_t> most = int64_t{1} << 16;
  std::atomic<int64_t> restored = 0;

 private:
  struct Room final : engine::ArchiveRoom {
    explicit Room(FakeArchives& owner) : archives(owner) {}
    absl::StatusOr<engine::ArchiveChunkPtr> Restore(int64_t begin,
                                                    const engine::Snapshot& bytes) override {
      ++archives.restored;
      auto copy = std::make_shared<engine::Snapshot>(bytes.tokens(), std::ssize(bytes.bytes()));
      std::copy(bytes.bytes().begin(), bytes.bytes().end(), copy->mutable_bytes().begin());
      return std::make_shared<FakeChunk>(begin, std::move(copy));
    }
    FakeArchives& archives;
  };
};

}  // namespace fmaserver::testing
