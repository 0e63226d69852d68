// The archives of one model: a budget of equal groups, so that admission is exact.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "kernels/fma/archive_layout.h"
#include "server/engine/archive.h"

namespace fmaserver::engine {

class ArchiveMemory;
class ArchiveReserve;

struct ArchiveOptions {
  int64_t bytes = int64_t{4} << 30;  ///< of all archives together; 0: none, in constant memory
  std::filesystem::path dir = {};    ///< where tokens lie; empty: in memory, as sketches always do
  /// Of a device's own memory, for copies of the units that were opened last
  /// (kernels::Backend::CacheUnits); 0: none.
  int64_t unit_cache_bytes = int64_t{512} << 20;
  /// How much all archives of a tenant may take; 0: no limit of his own. Called on any thread;
  /// null: nobody has one.
  std::function<int64_t(const std::string& tenant)> tenant_bytes = {};
};

/// Counts a group from the moment when it is reserved until nobody holds it. Groups hold the pool,
/// which therefore may outlive its engine. Thread-safe.
class ArchivePool final : public ArchiveSource, public std::enable_shared_from_this<ArchivePool> {
 public:
  /// INVALID_ARGUMENT when the bytes are too few for one group; UNIMPLEMENTED for a backend that
  /// opens no units; the errors of ArchiveMemory::Create.
  static absl::StatusOr<std::shared_ptr<ArchivePool>> Create(
      std::shared_ptr<kernels::Backend> backend, const kernels::ArchiveLayout& layout,
      const ArchiveOptions& options);
  ~ArchivePool() override;

  /// Lets go of groups that nobody works with, the tenant's only unless `tenant` is empty, one
  /// after the other until `enough` says true. Called without locks, on any thread; calls no
  /// Reserve.
  using Reclaimer =
      std::function<void(const std::string& tenant, absl::FunctionRef<bool()> enough)>;

  /// Whom to ask before a reservation is refused, after those that were added before. Called before
  /// the first Reserve.
  void AddReclaimer(Reclaimer reclaimer) { reclaimers_.push_back(std::move(reclaimer)); }

  /// UNAVAILABLE when one of these chunks of the pool is lost.
  absl::Status CheckNoneLost(const Archive& archive) const;

  /// `groups` blank groups that count as the tenant's. All that can fail fails here:
  /// RESOURCE_EXHAUSTED says how much is needed, free and allowed, and what helps. May wait for the
  /// disk when MayWait().
  absl::StatusOr<std::unique_ptr<ArchiveReserve>> Reserve(const std::string& tenant,
                                                          int64_t groups);

  absl::Status CheckChunk(uint64_t tokens, uint64_t bytes) const override;
  absl::StatusOr<std::unique_ptr<ArchiveRoom>> MakeRoom(const std::string& tenant,
                                                        int64_t chunks) override;

  const kernels::ArchiveLayout& layout() const { return layout_; }
  int64_t budget_bytes() const { return options_.bytes; }
  /// Of the device's memory that copies of units have.
  int64_t unit_cache_bytes() const { return unit_cache_bytes_; }
  int64_t BytesPer1000Tokens() const {
    return layout_.GroupBytes() * 1000 / layout_.hierarchy.group_size;
  }
  /// Held and reserved.
  int64_t used_bytes() const { return used_groups_ * layout_.GroupBytes(); }
  bool MayWait() const;

 private:
  friend class ArchiveReserve;
  class Chunk;
  /// A group that nobody has written to yet, and where its tokens lie.
  struct Blank {
    int64_t place = 0;
    std::unique_ptr<kernels::ArchiveGroup> group;
  };

  ArchivePool(std::shared_ptr<kernels::Backend> backend, const kernels::ArchiveLayout& layout,
              ArchiveOptions options, std::unique_ptr<ArchiveMemory> memory);

  bool Count(const std::string& tenant, int64_t groups, int64_t tenant_bytes);
  void Discount(const std::string& tenant, int64_t groups);
  absl::Status Refusal(const std::string& tenant, int64_t groups, int64_t tenant_bytes) const;
  absl::Status Lost() const;
  absl::StatusOr<Blank> MakeBlank();
  void Free(const std::string& tenant, Blank blank);

  const std::shared_ptr<kernels::Backend> backend_;
  const kernels::ArchiveLayout layout_;
  const ArchiveOptions options_;
  const std::unique_ptr<ArchiveMemory> memory_;
  std::vector<Reclaimer> reclaimers_;
  int64_t unit_cache_bytes_ = 0;

  mutable std::mutex mutex_;
  std::map<std::string, int64_t> tenants_;  // groups of each; guarded by mutex_, as are the next
  std::vector<int64_t> free_places_;        // that were used before; the last is the next to use
  int64_t next_place_ = 0;                  // the first that was never used
  std::atomic<int64_t> used_groups_ = 0;    // written under mutex_
};

/// Blank groups of one request. What is left when it is destroyed is free again. One thread at a
/// time.
class ArchiveReserve final : public ArchiveRoom {
 public:
  ArchiveReserve(std::shared_ptr<ArchivePool> pool, std::string tenant)
      : pool_(std::move(pool)), tenant_(std::move(tenant)) {}
  ~ArchiveReserve() override { Shrink(0); }

  const ArchivePool& pool() const { return *pool_; }
  int64_t left() const { return std::ssize(blanks_); }

  /// Gives back all but `groups`.
  void Shrink(int64_t groups);

  /// A group for the tokens from `begin` on, which the caller will write; null when none is left.
  ArchiveChunkPtr Take(int64_t begin);

  absl::StatusOr<ArchiveChunkPtr> Restore(int64_t begin, const Snapshot& bytes) override;

 private:
  friend class ArchivePool;

  const std::shared_ptr<ArchivePool> pool_;
  const std::string tenant_;
  std::vector<ArchivePool::Blank> blanks_;
};

}  // namespace fmaserver::engine
