#include "server/engine/archive_pool.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "base/refusal.h"
#include "base/text.h"
#include "server/engine/archive_memory.h"

namespace fmaserver::engine {

/// Gives its group back when the last state that has it is gone.
class ArchivePool::Chunk final : public ArchiveChunk {
 public:
  Chunk(std::shared_ptr<ArchivePool> pool, std::string tenant, Blank blank, int64_t begin)
      : ArchiveChunk(begin, begin + pool->layout_.hierarchy.group_size, pool->layout_.GroupBytes()),
        pool_(std::move(pool)),
        tenant_(std::move(tenant)),
        blank_(std::move(blank)) {}
  ~Chunk() override { pool_->Free(tenant_, std::move(blank_)); }

  kernels::ArchiveGroup* group() const override { return blank_.group.get(); }

  absl::StatusOr<SnapshotPtr> Save() const override {
    auto copy = std::make_shared<Snapshot>(end(), bytes());
    const auto token_bytes = static_cast<size_t>(pool_->layout_.TokenBytes());
    const std::span<std::byte> out = copy->mutable_bytes();
    std::copy_n(group()->tokens, token_bytes, out.data());
    absl::Status status = pool_->backend_->SaveSketches(*group(), out.subspan(token_bytes));
    if (!status.ok()) return status;
    if (lost()) return pool_->Lost();  // after the copy, which may have been the first to find out
    return copy;
  }

  bool lost() const override { return pool_->memory_->Lost(blank_.place); }

 private:
  const std::shared_ptr<ArchivePool> pool_;
  const std::string tenant_;
  Blank blank_;
};

absl::StatusOr<std::shared_ptr<ArchivePool>> ArchivePool::Create(
    std::shared_ptr<kernels::Backend> backend, const kernels::ArchiveLayout& layout,
    const ArchiveOptions& options) {
  const int64_t groups = options.bytes / layout.GroupBytes();
  if (groups < 1) {
    return fmaserver::Refusal("archive bytes", options.bytes,
                              Concat("0, or ", layout.GroupBytes(), " or more, which ",
                                     layout.hierarchy.group_size, " tokens of this model take"));
  }
  auto memory = ArchiveMemory::Create(options.dir, layout.TokenBytes(), groups);
  if (!memory.ok()) return memory.status();
  auto pool =
      absl::WrapUnique(new ArchivePool(std::move(backend), layout, options, *std::move(memory)));
  std::shared_ptr<ArchivePool> shared = std::move(pool);
  // A backend that makes no groups says so now, and a full disk too.
  if (const auto trial = shared->Reserve("", 1); !trial.ok()) return trial.status();
  // No more than all archives have.
  const int64_t most = std::min(options.unit_cache_bytes, groups * layout.TokenBytes());
  const auto copies = shared->backend_->CacheUnits(layout, most);
  if (!copies.ok()) return copies.status();
  shared->unit_cache_bytes_ = *copies;
  return shared;
}

ArchivePool::ArchivePool(std::shared_ptr<kernels::Backend> backend,
                         const kernels::ArchiveLayout& layout, ArchiveOptions options,
                         std::unique_ptr<ArchiveMemory> memory)
    : backend_(std::move(backend)),
      layout_(layout),
      options_(std::move(options)),
      memory_(std::move(memory)) {}

ArchivePool::~ArchivePool() = default;

bool ArchivePool::MayWait() const { return memory_->in_file(); }

absl::Status ArchivePool::Lost() const {
  return absl::UnavailableError(Concat("archive in ", memory_->dir().string(),
                                       ": the disk cannot read back what it was given"));
}

absl::Status ArchivePool::CheckNoneLost(const Archive& archive) const {
  if (memory_->lost_pages() == 0) return absl::OkStatus();
  const bool any = std::ranges::any_of(archive, [](const auto& chunk) { return chunk->lost(); });
  return any ? Lost() : absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ArchiveReserve>> ArchivePool::Reserve(const std::string& tenant,
                                                                     int64_t groups) {
  const int64_t tenant_bytes = options_.tenant_bytes ? options_.tenant_bytes(tenant) : 0;
  const auto count = [&] { return Count(tenant, groups, tenant_bytes); };
  bool counted = count();
  if (!counted) {
    // When it is the tenant's own limit that he has reached, only what is his helps.
    const bool own = tenant_bytes > 0;
    for (const Reclaimer& reclaim : reclaimers_) {
      reclaim(own ? tenant : std::string(), [&] { return counted = counted || count(); });
      if (counted) break;
    }
  }
  if (!counted) return Refusal(tenant, groups, tenant_bytes);
  auto reserve = std::make_unique<ArchiveReserve>(shared_from_this(), tenant);
  for (int64_t i = 0; i < groups; ++i) {
    absl::StatusOr<Blank> blank = MakeBlank();
    if (!blank.ok()) {
      Discount(tenant, groups - i);
      return blank.status();
    }
    reserve->blanks_.push_back(*std::move(blank));
  }
  return reserve;
}

bool ArchivePool::Count(const std::string& tenant, int64_t groups, int64_t tenant_bytes) {
  const int64_t bytes = layout_.GroupBytes();
  const std::lock_guard lock(mutex_);
  if (groups > options_.bytes / bytes - used_groups_) return false;
  int64_t& held = tenants_[tenant];
  if (tenant_bytes > 0 && groups > tenant_bytes / bytes - held) return false;
  held += groups;
  used_groups_ += groups;
  return true;
}

void ArchivePool::Discount(const std::string& tenant, int64_t groups) {
  const std::lock_guard lock(mutex_);
  used_groups_ -= groups;
  const auto held = tenants_.find(tenant);
  held->second -= groups;
  if (held->second == 0) tenants_.erase(held);
}

absl::Status ArchivePool::Refusal(const std::string& tenant, int64_t groups,
                                  int64_t tenant_bytes) const {
  const int64_t bytes = layout_.GroupBytes();
  const std::lock_guard lock(mutex_);
  const auto found = tenants_.find(tenant);
  const int64_t held = found == tenants_.end() ? 0 : found->second * bytes;
  const bool own = tenant_bytes > 0 && groups * bytes > tenant_bytes - held;
  const int64_t allowed = own ? tenant_bytes : options_.bytes;
  const int64_t used = own ? held : used_groups_ * bytes;
  return fmaserver::Refusal(
      own ? At(Concat("tenant ", Quoted(tenant)), "archive") : std::string("archive"),
      Words{Concat(groups * bytes, " bytes more for ", groups * layout_.hierarchy.group_size,
                   " tokens")},
      Concat("the ", std::max<int64_t>(0, allowed - used), " bytes that are free of ", allowed,
             "; a smaller max_tokens or a shorter prompt needs less, no_archive needs none, and "
             "deleting sessions frees some"),
      absl::StatusCode::kResourceExhausted);
}

absl::StatusOr<ArchivePool::Blank> ArchivePool::MakeBlank() {
  Blank blank;
  {
    const std::lock_guard lock(mutex_);
    if (free_places_.empty()) {
      blank.place = next_place_++;
    } else {
      blank.place = free_places_.back();
      free_places_.pop_back();
    }
  }
  absl::Status status = memory_->Back(blank.place);
  if (status.ok() && memory_->Lost(blank.place)) status = memory_->Renew(blank.place);
  if (status.ok()) {
    auto group = backend_->MakeGroup(layout_, memory_->At(blank.place));
    if (group.ok()) {
      blank.group = *std::move(group);
      return blank;
    }
    status = group.status();
  }
  const std::lock_guard lock(mutex_);
  free_places_.push_back(blank.place);
  return status;
}

void ArchivePool::Free(const std::string& tenant, Blank blank) {
  blank.group.reset();
  {
    const std::lock_guard lock(mutex_);
    free_places_.push_back(blank.place);
  }
  Discount(tenant, 1);
}

absl::Status ArchivePool::CheckChunk(uint64_t tokens, uint64_t bytes) const {
  const auto group_tokens = static_cast<uint64_t>(layout_.hierarchy.group_size);
  const auto group_bytes = static_cast<uint64_t>(layout_.GroupBytes());
  if (tokens == group_tokens && bytes == group_bytes) return absl::OkStatus();
  return fmaserver::Refusal("chunk", Words{Concat(bytes, " bytes for ", tokens, " tokens")},
                            Concat(group_bytes, " bytes for each ", group_tokens,
                                   " tokens, as archives of this model have"));
}

absl::StatusOr<std::unique_ptr<ArchiveRoom>> ArchivePool::MakeRoom(const std::string& tenant,
                                                                   int64_t chunks) {
  return Reserve(tenant, chunks);
}

void ArchiveReserve::Shrink(int64_t groups) {
  while (left() > groups) {
    pool_->Free(tenant_, std::move(blanks_.back()));
    blanks_.pop_back();
  }
}

ArchiveChunkPtr ArchiveReserve::Take(int64_t begin) {
  if (blanks_.empty()) return nullptr;
  ArchivePool::Blank blank = std::move(blanks_.back());
  blanks_.pop_back();
  return std::make_shared<ArchivePool::Chunk>(pool_, tenant_, std::move(blank), begin);
}

absl::StatusOr<ArchiveChunkPtr> ArchiveReserve::Restore(int64_t begin, const Snapshot& bytes) {
  absl::Status status = pool_->CheckChunk(static_cast<uint64_t>(bytes.tokens() - begin),
                                          static_cast<uint64_t>(std::ssize(bytes.bytes())));
  if (!status.ok()) return status;
  ArchiveChunkPtr chunk = Take(begin);
  if (chunk == nullptr) return absl::InternalError("more chunks than there is room for");
  const auto token_bytes = static_cast<size_t>(pool_->layout().TokenBytes());
  std::copy_n(bytes.bytes().data(), token_bytes, chunk->group()->tokens);
  status = pool_->backend_->RestoreSketches(bytes.bytes().subspan(token_bytes), *chunk->group());
  if (!status.ok()) return status;
  return chunk;
}

}  // namespace fmaserver::engine
