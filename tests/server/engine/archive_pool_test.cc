// The budget of archives, to the group; where their memory lies; who makes room for whom.
#include "server/engine/archive_pool.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/host_group.h"
#include "server/engine/sequence_archive.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/support/full_disk.h"
#include "tests/support/lost_files.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

using engine::Archive;
using engine::ArchiveChunkPtr;
using engine::ArchiveOptions;
using engine::ArchivePool;
using ::testing::HasSubstr;

const int64_t kGroupBytes = OpeningLayout().GroupBytes();
constexpr int64_t kGroups = 40;  // of the pool that threads share

absl::StatusOr<std::shared_ptr<ArchivePool>> TryMakePool(const ArchiveOptions& options) {
  auto backend = kernels::MakeCpuBackend(1);
  EXPECT_TRUE(backend.ok());
  return ArchivePool::Create(*std::move(backend), OpeningLayout(), options);
}

std::shared_ptr<ArchivePool> MakePool(int64_t groups, const std::filesystem::path& dir = {}) {
  auto pool = TryMakePool({.bytes = groups * kGroupBytes + kGroupBytes / 2, .dir = dir});
  EXPECT_TRUE(pool.ok()) << pool.status();
  return *std::move(pool);
}

int64_t GroupsUsed(const ArchivePool& pool) { return pool.used_bytes() / kGroupBytes; }

void Fill(const engine::ArchiveChunk& chunk, uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto fill = [&](std::byte* at, int64_t bytes) {
    std::generate_n(at, bytes, [&] { return static_cast<std::byte>(random()); });
  };
  fill(chunk.group()->tokens, OpeningLayout().TokenBytes());
  const kernels::SketchColumn& sketches = kernels::SketchesOf(*chunk.group());
  for (int64_t i = 0; i < sketches.heads; ++i) fill(sketches.Head(i), sketches.head_bytes);
}

TEST(ArchivePool, GroupsCountFromTheirReservationToTheirLastHolder) {
  const auto pool = MakePool(10);
  auto reserve = pool->Reserve("", 7);
  ASSERT_TRUE(reserve.ok()) << reserve.status();
  EXPECT_EQ(GroupsUsed(*pool), 7);
  Archive archive = {(*reserve)->Take(0), (*reserve)->Take(8)};
  EXPECT_EQ((*reserve)->left(), 5);
  EXPECT_EQ(archive[1]->begin(), 8);
  EXPECT_EQ(archive[1]->end(), 16);
  EXPECT_EQ(archive[1]->bytes(), kGroupBytes);
  EXPECT_EQ(GroupsUsed(*pool), 7) << "taking a group changes no count";
  (*reserve)->Shrink(3);
  EXPECT_EQ(GroupsUsed(*pool), 5);
  reserve->reset();
  EXPECT_EQ(GroupsUsed(*pool), 2);
  const Archive fork = archive;
  archive.clear();
  EXPECT_EQ(GroupsUsed(*pool), 2);
  archive = fork;
  EXPECT_EQ(GroupsUsed(*pool), 2) << "holders share";
}

TEST(ArchivePool, ARefusalHasTheNumbers) {
  const auto pool = MakePool(10);
  const auto held = pool->Reserve("", 7);
  ASSERT_TRUE(held.ok());
  EXPECT_TRUE(pool->Reserve("", 3).ok());
  const absl::Status refusal = pool->Reserve("", 4).status();
  EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refusal.message(),
            Concat("archive is ", 4 * kGroupBytes, " bytes more for 32 tokens; allowed: the ",
                   3 * kGroupBytes + kGroupBytes / 2, " bytes that are free of ",
                   10 * kGroupBytes + kGroupBytes / 2,
                   "; a smaller max_tokens or a shorter prompt needs less, no_archive needs none, "
                   "and deleting sessions frees some"));
  EXPECT_EQ(GroupsUsed(*pool), 7);
}

TEST(ArchivePool, TooSmallABudgetIsRefusedAtOnce) {
  const absl::Status status = TryMakePool({.bytes = kGroupBytes - 1}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(Concat("archive bytes is ", kGroupBytes - 1, "; allowed: 0, or ",
                               kGroupBytes, " or more")));
}

TEST(ArchivePool, ATenantMayHaveALimitOfHisOwn) {
  const auto made = TryMakePool({.bytes = 10 * kGroupBytes, .tenant_bytes = [](const auto& tenant) {
                                   return tenant == "alice" ? 3 * kGroupBytes : 0;
                                 }});
  ASSERT_TRUE(made.ok());
  const auto hers = (*made)->Reserve("alice", 2);
  ASSERT_TRUE(hers.ok());
  const absl::Status refusal = (*made)->Reserve("alice", 2).status();
  EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refusal.message()), HasSubstr("tenant \"alice\": archive is "));
  EXPECT_THAT(std::string(refusal.message()),
              HasSubstr(Concat("the ", kGroupBytes, " bytes that are free of ", 3 * kGroupBytes)));
  EXPECT_TRUE((*made)->Reserve("alice", 1).ok());
  EXPECT_TRUE((*made)->Reserve("bob", 8).ok());
  EXPECT_FALSE((*made)->Reserve("bob", 9).ok());
}

TEST(ArchivePool, WhoeverCanMakeRoomIsAskedInOrderBeforeARefusal) {
  const auto pool = MakePool(10);
  auto reserve = pool->Reserve("", 10);
  ASSERT_TRUE(reserve.ok());
  Archive first;
  Archive second;
  for (int i = 0; i < 10; ++i) (i < 5 ? first : second).push_back((*reserve)->Take(8 * i));
  std::string asked;
  const auto giver = [&asked](char name, Archive& held) {
    return [&asked, name, &held](const std::string& tenant, auto enough) {
      asked += name + tenant;
      while (!held.empty()) {
        held.pop_back();
        if (enough()) return;
      }
    };
  };
  pool->AddReclaimer(giver('1', first));
  pool->AddReclaimer(giver('2', second));
  EXPECT_TRUE(pool->Reserve("", 3).ok());
  EXPECT_EQ(asked, "1") << "the first had enough";
  EXPECT_EQ(first.size(), 2U) << "and kept the rest";
  EXPECT_TRUE(pool->Reserve("", 3).ok());
  EXPECT_EQ(asked, "1") << "what was given back is free";
  const auto held = pool->Reserve("", 6);
  EXPECT_TRUE(held.ok());
  EXPECT_EQ(asked, "112");
  EXPECT_FALSE(pool->Reserve("", 5).ok());
  EXPECT_EQ(asked, "11212");
}

TEST(ArchivePool, SavedChunksAreRestoredInAnotherPool) {
  const auto pool = MakePool(4);
  const auto other = MakePool(4);
  for (int i = 0; i < 4; ++i) {
    const ArchiveChunkPtr chunk = (*pool->Reserve("", 1))->Take(8 * i);
    Fill(*chunk, i);
    const auto saved = chunk->Save();
    ASSERT_TRUE(saved.ok());
    EXPECT_EQ((*saved)->tokens(), 8 * i + 8);
    const auto room = other->MakeRoom("", 1);
    ASSERT_TRUE(room.ok());
    const auto restored = (*room)->Restore(8 * i, **saved);
    ASSERT_TRUE(restored.ok()) << restored.status();
    EXPECT_TRUE(std::ranges::equal((*(*restored)->Save())->bytes(), (*saved)->bytes()));
    EXPECT_EQ((*room)->Restore(8 * i, **saved).status().code(), absl::StatusCode::kInternal)
        << "the room was for one";
  }
  EXPECT_EQ(pool->used_bytes(), 0);
}

TEST(ArchivePool, ChunksOfAnotherShapeAreRefused) {
  const auto pool = MakePool(4);
  const auto group_bytes = static_cast<uint64_t>(kGroupBytes);
  EXPECT_TRUE(pool->CheckChunk(8, group_bytes).ok());
  for (const auto& [tokens, bytes] : {std::pair<uint64_t, uint64_t>{16, group_bytes},
                                      {0, group_bytes},
                                      {8, group_bytes - 1},
                                      {~uint64_t{0}, ~uint64_t{0}}}) {
    const absl::Status status = pool->CheckChunk(tokens, bytes);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(Concat(bytes, " bytes for ", tokens, " tokens; allowed: ", group_bytes)));
  }
  const engine::Snapshot small(16, kGroupBytes - 1);
  EXPECT_FALSE((*pool->MakeRoom("", 1))->Restore(8, small).ok());
}

TEST(ArchivePool, TokensMayLieInAFileWithoutAName) {
  const TempFolder folder;
  const std::filesystem::path dir = folder.path() / "archives";
  const auto pool = MakePool(20, dir);
  EXPECT_TRUE(pool->MayWait());
  for (int round = 0; round < 3; ++round) {
    auto reserve = pool->Reserve("", 20);
    ASSERT_TRUE(reserve.ok()) << reserve.status();
    Archive archive;
    for (int i = 0; i < 20; ++i) {
      archive.push_back((*reserve)->Take(8 * i));
      Fill(*archive.back(), round * 20 + i);
    }
    for (int i = 0; i < 20; ++i) {
      const auto before = archive[i]->Save();
      ASSERT_TRUE(before.ok());
      std::vector<std::byte> expected(OpeningLayout().TokenBytes());
      std::mt19937_64 random(round * 20 + i);
      std::ranges::generate(expected, [&] { return static_cast<std::byte>(random()); });
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), (*before)->bytes().begin()));
    }
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir)) << "nothing is left, however the server ends";
}

TEST(ArchivePool, AFolderThatCannotBeUsedIsNamed) {
  const TempFolder folder;
  ASSERT_TRUE(WriteFile(folder.path() / "file", "x"));
  const absl::Status status =
      TryMakePool({.bytes = 4 * kGroupBytes, .dir = folder.path() / "file"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(Concat("archive in ", (folder.path() / "file").string())));
}

TEST(ArchivePool, AFullDiskRefusesTheOneRequest) {
  const TempFolder folder;
  const auto pool = MakePool(20, folder.path());
  const int64_t page = 4096;
  const int64_t stride = (OpeningLayout().TokenBytes() + page - 1) / page * page;
  {
    const FullDisk full(8 * stride);
    const auto held = pool->Reserve("", 5);
    ASSERT_TRUE(held.ok()) << held.status();
    const absl::Status refusal = pool->Reserve("", 5).status();
    EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(refusal.message()),
                HasSubstr(Concat("archive in ", folder.path().string(), ": no room for ")));
    EXPECT_EQ(GroupsUsed(*pool), 5) << "what it had got is free again";
    EXPECT_TRUE(pool->Reserve("", 3).ok()) << "others go on";
  }
  EXPECT_TRUE(pool->Reserve("", 20).ok()) << "and all is well once there is room";
}

// The process would end with SIGBUS.
TEST(ArchivePool, WhatTheDiskLosesIsKnownAndItsPlaceIsGoodAgain) {
  const TempFolder folder;
  const auto pool = MakePool(2, folder.path());
  Archive archive;
  {
    const auto reserve = pool->Reserve("", 2);
    ASSERT_TRUE(reserve.ok()) << reserve.status();
    for (int i = 0; i < 2; ++i) archive.push_back((*reserve)->Take(8 * i));
  }
  Fill(*archive[0], 1);
  LoseFilesIn(folder.path());
  EXPECT_TRUE(pool->CheckNoneLost(archive).ok()) << "nobody has looked yet";
  const absl::Status lost = archive[0]->Save().status();
  EXPECT_EQ(lost.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(lost.message()),
              HasSubstr(Concat("archive in ", folder.path().string(), ": the disk cannot read")));
  EXPECT_TRUE(archive[0]->lost());
  EXPECT_FALSE(archive[1]->lost());
  EXPECT_EQ(pool->CheckNoneLost(archive), lost);
  EXPECT_TRUE(pool->CheckNoneLost({archive[1]}).ok());
  archive.clear();
  const auto reserve = pool->Reserve("", 2);
  ASSERT_TRUE(reserve.ok()) << reserve.status();
  for (int i = 0; i < 2; ++i) archive.push_back((*reserve)->Take(8 * i));
  Fill(*archive[0], 2);
  Fill(*archive[1], 3);
  EXPECT_TRUE(archive[0]->Save().ok());
  EXPECT_TRUE(pool->CheckNoneLost(archive).ok());
}

#ifndef FMA_SANITIZED  // whose programs say what happened and exit, and need memory of their own
TEST(ArchivePoolDeathTest, OtherMemoryFailsAsBefore) {
  const TempFolder folder;
  const auto pool = MakePool(2, folder.path());
  const std::string file = folder.path() / "other";
  ASSERT_TRUE(WriteFile(file, "x"));
  EXPECT_EXIT(
      {
        const int descriptor = open(file.c_str(), O_RDONLY);
        void* mapped = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, descriptor, 0);
        if (truncate(file.c_str(), 0) == 0) _exit(*static_cast<volatile char*>(mapped));
      },
      ::testing::KilledBySignal(SIGBUS), "");
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t all = 0;
  int64_t resident = 0;
  file >> all >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// The shape of SmolLM2-135M.
TEST(ArchivePool, TakesTheBytesOfTheFormula) {
  kernels::AttentionSpec spec = OpeningConfig().attention;
  spec.num_kv_heads = 3;
  spec.head_dim = 64;
  spec.hierarchy.group_size = 64;
  spec.open_size = 32;
  const kernels::ArchiveLayout layout(spec, 30, kernels::CacheType::kBF16);
  EXPECT_EQ(layout.TokenBytes(), 64 * 30 * 3 * 2 * 64 * 2);
  EXPECT_EQ(layout.SketchBytes(), 30 * 3 * 2 * (2 * 64 * 2 + 32 * 2 + 16 * 32));
  constexpr int64_t kMany = kernels::SketchPool::kGroups;
  auto pool = ArchivePool::Create(*kernels::MakeCpuBackend(1), layout,
                                  {.bytes = kMany * layout.GroupBytes()});
  ASSERT_TRUE(pool.ok()) << pool.status();
  const int64_t before = ResidentBytes();
  const auto reserve = (*pool)->Reserve("", kMany);
  ASSERT_TRUE(reserve.ok()) << reserve.status();
  Archive archive;
  for (int64_t i = 0; i < kMany; ++i) {
    archive.push_back((*reserve)->Take(64 * i));
    std::fill_n(archive.back()->group()->tokens, layout.TokenBytes(), std::byte{1});
    const kernels::SketchColumn& sketches = kernels::SketchesOf(*archive.back()->group());
    for (int64_t head = 0; head < sketches.heads; ++head) {
      std::fill_n(sketches.Head(head), sketches.head_bytes, std::byte{1});
    }
  }
  const auto share = static_cast<double>(ResidentBytes() - before) /
                     static_cast<double>(kMany * layout.GroupBytes());
  // Less when the kernel took back pages of other tests meanwhile.
  EXPECT_GT(share, 0.5);
  EXPECT_LT(share, 1.02);
  EXPECT_EQ((*pool)->used_bytes(), kMany * layout.GroupBytes());
}
#endif

TEST(ArchivePool, ThreadsTakeAndDropAtOnce) {
  constexpr int kThreads = 4;
  const auto pool = MakePool(kGroups);
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&pool, thread] {
      std::mt19937 random(thread);
      Archive held;
      for (int i = 0; i < 2000; ++i) {
        const auto groups = static_cast<int64_t>(random() % 12);
        auto reserve = pool->Reserve(std::to_string(thread), groups);
        EXPECT_LE(GroupsUsed(*pool), kGroups);
        if (!reserve.ok()) {
          held.clear();
          continue;
        }
        while (ArchiveChunkPtr chunk = (*reserve)->Take(0)) {
          *chunk->group()->tokens = std::byte{1};
          if (random() % 2 == 0) held.push_back(std::move(chunk));
        }
      }
    });
  }
  threads.clear();
  EXPECT_EQ(pool->used_bytes(), 0);
  EXPECT_TRUE(pool->Reserve("", kGroups).ok());
}

TEST(SequenceArchive, HasAGroupForEachThatAStepNeedsAndSharesThoseThatAreWritten) {
  const auto pool = MakePool(20);
  auto reserve = pool->Reserve("", 8);
  ASSERT_TRUE(reserve.ok());
  engine::SequenceArchive archive(OpeningLayout(), *std::move(reserve));
  for (int64_t tokens = 1; tokens <= 40; ++tokens) {
    const auto groups = archive.GroupsFor(tokens);
    ASSERT_TRUE(groups.ok());
    ASSERT_EQ(std::ssize(*groups), OpeningLayout().Groups(tokens)) << tokens;
  }
  const Archive at_40 = archive.At(40);
  EXPECT_EQ(std::ssize(at_40), OpeningLayout().Groups(40));
  EXPECT_EQ(archive.TokensAt(40), 8 * OpeningLayout().Groups(40));
  engine::SequenceArchive fork = archive.Fork(24);
  EXPECT_EQ(fork.At(24), Archive(at_40.begin(), at_40.begin() + OpeningLayout().Groups(24)));
  const auto own = fork.GroupsFor(40);
  ASSERT_TRUE(own.ok());
  EXPECT_EQ((*own)[0], at_40[0]->group());
  EXPECT_NE((*own)[3], at_40[3]->group()) << "what comes after the fork is its own";
  EXPECT_EQ(GroupsUsed(*pool), 8);
  EXPECT_EQ(archive.GroupsFor(400).status().code(), absl::StatusCode::kInternal);
}

TEST(SequenceArchive, OpensNothingWithoutAReserve) {
  engine::SequenceArchive archive;
  EXPECT_FALSE(archive.opens());
  EXPECT_TRUE(archive.GroupsFor(1000)->empty());
  EXPECT_TRUE(archive.At(1000).empty());
  EXPECT_EQ(archive.TokensAt(1000), 0);
}

}  // namespace
}  // namespace fmaserver::testing
