// What is counted in memory, and which sessions give some back.
#include "server/sessions/session_memory.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "gtest/gtest.h"
#include "tests/server/sessions/fake_archives.h"

namespace fmaserver::sessions {
namespace {

engine::SnapshotPtr SlotOf(int64_t tokens, int64_t bytes) {
  return std::make_shared<engine::Snapshot>(tokens, bytes);
}

Point PointOf(int64_t tokens, int64_t bytes) {
  std::vector<PartPtr> chunks;
  return MakePoint(SlotOf(tokens, bytes), true, chunks);
}

Holding HoldingOf(std::vector<Point> points, bool durable) {
  Holding holding{.durable = durable};
  holding.contents.tail = std::make_shared<Tail>();
  holding.contents.points = std::move(points);
  return holding;
}

TEST(SessionMemoryTest, TheLeastRecentlyUsedLeavesFirst) {
  SessionMemory memory(250);
  Session first({"t", "1"}), second({"t", "2"}), third({"t", "3"});
  for (Session* session : {&first, &second, &third}) {
    memory.Set(*session, HoldingOf({PointOf(5, 100)}, /*durable=*/true));
    memory.Park(*session);
  }
  memory.Use(first);
  EXPECT_TRUE(memory.Free(0));
  EXPECT_EQ(PlaceOf(first), SessionPlace::kInMemory);
  EXPECT_EQ(PlaceOf(second), SessionPlace::kOnDisk);
  EXPECT_EQ(PlaceOf(third), SessionPlace::kInMemory);
}

// A session that could not be removed keeps its age, and leaves memory like any other.
TEST(SessionMemoryTest, ASessionKeepsItsPlaceWhileItIsNotParked) {
  SessionMemory memory(100);
  Session first({"t", "1"}), second({"t", "2"});
  for (Session* session : {&first, &second}) {
    memory.Set(*session, HoldingOf({PointOf(5, 100)}, /*durable=*/true));
    memory.Park(*session);
  }
  memory.Unpark(first);
  memory.Park(first);
  EXPECT_TRUE(memory.Free(0));
  EXPECT_EQ(PlaceOf(first), SessionPlace::kOnDisk);
  EXPECT_EQ(PlaceOf(second), SessionPlace::kInMemory);
}

TEST(SessionMemoryTest, WhatIsNowhereElseStays) {
  SessionMemory memory(0);
  Session saved({"t", "1"}), unsaved({"t", "2"});
  const Point shared = PointOf(5, 100);
  memory.Set(saved, HoldingOf({shared}, /*durable=*/true));
  memory.Set(unsaved, HoldingOf({shared}, /*durable=*/false));
  memory.Park(saved);
  memory.Park(unsaved);
  EXPECT_FALSE(memory.Free(0));
  EXPECT_EQ(memory.stats().memory_bytes, 100);
  EXPECT_EQ(memory.stats().disk_bytes, 100);
}

TEST(SessionMemoryTest, APartThatLiesAboutItsIdSharesNothing) {
  SessionMemory memory(1000);
  Session honest({"t", "1"}), liar({"t", "2"});
  memory.Set(honest, HoldingOf({PointOf(5, 100)}, true));
  Point lie = PointOf(9, 100);
  lie.slot->id = honest.holding.contents.points.front().slot->id;
  memory.Set(liar, HoldingOf({lie}, true));
  EXPECT_EQ(liar.holding.contents.points.front().tokens(), 9);
  EXPECT_EQ(memory.stats().memory_bytes, 200);
  memory.Clear(honest);
  memory.Clear(liar);
  EXPECT_EQ(memory.stats().memory_bytes, 0);
  EXPECT_EQ(memory.stats().disk_bytes, 0);
}

// Counts everything anew.
SessionStats Recount(const std::vector<std::unique_ptr<Session>>& sessions) {
  SessionStats stats;
  std::set<const void*> seen;
  std::set<const Part*> on_disk;
  for (const auto& session : sessions) {
    if (!session->exists) continue;
    switch (PlaceOf(*session)) {
      case SessionPlace::kActive:
        ++stats.active;
        break;
      case SessionPlace::kInMemory:
        ++stats.in_memory;
        break;
      case SessionPlace::kOnDisk:
        ++stats.on_disk;
        break;
    }
    const SessionContents& contents = session->holding.contents;
    for (const PartPtr& part : PartsOf(contents)) {
      if (part->memory && seen.insert(part.get()).second) {
        // Chunks count in the budget of archives.
        if (part->kind == Part::Kind::kSlot) stats.memory_bytes += part->bytes;
      }
      if (session->holding.durable && on_disk.insert(part.get()).second) {
        stats.disk_bytes += part->bytes;
      }
    }
    if (contents.tail != nullptr && seen.insert(contents.tail.get()).second) {
      stats.memory_bytes += std::ssize(contents.tail->log) * 4;
    }
  }
  return stats;
}

engine::ArchiveChunkPtr NewChunk(int64_t begin) {
  return std::make_shared<testing::FakeChunk>(begin, SlotOf(begin + 1, 30));
}

// Only sessions that the shelf has, and those of the tenant who needs the room.
TEST(SessionMemoryTest, ArchivesLeaveMemoryTheLeastRecentlyUsedFirst) {
  SessionMemory memory(1000);
  Session oldest({"t", "1"}), plain({"t", "2"}), unsaved({"t", "3"}), other({"u", "4"}),
      newest({"t", "5"});
  for (Session* session : {&oldest, &plain, &unsaved, &other, &newest}) {
    engine::State state(SlotOf(5, 100));
    if (session != &plain) state.archive = {NewChunk(0)};
    std::vector<PartPtr> chunks;
    Holding holding = HoldingOf({MakePoint(state, true, chunks)}, session != &unsaved);
    holding.contents.chunks = ChunkList(chunks);
    memory.Set(*session, std::move(holding));
    memory.Park(*session);
  }
  EXPECT_EQ(memory.stats().memory_bytes, 500) << "chunks count elsewhere";
  const auto dropped = [&](const std::string& tenant, int sessions) {
    memory.DropArchives(tenant, [&sessions] { return --sessions == 0; });
    std::string left;
    for (Session* session : {&oldest, &plain, &unsaved, &other, &newest}) {
      const ChunkList& chunks = session->holding.contents.chunks;
      if (!chunks->empty() && chunks->back()->memory) left += session->name.id;
    }
    return left;
  };
  EXPECT_EQ(dropped("", 1), "345") << "the least recently used";
  EXPECT_EQ(PlaceOf(oldest), SessionPlace::kOnDisk);
  EXPECT_EQ(dropped("t", 9), "34") << "another tenant's stays, and what is nowhere else";
  EXPECT_EQ(dropped("", 9), "3");
  EXPECT_EQ(PlaceOf(plain), SessionPlace::kInMemory) << "it has no archive to give";
}

// Random sessions that share parts and tails are added and removed in any order: the running counts
// must equal a recount.
TEST(SessionMemoryTest, TheCountsAreRightAfterAnyOperations) {
  std::mt19937_64 random(11);
  const auto draw = [&random](size_t count) { return random() % count; };
  SessionMemory memory(3000);
  std::vector<std::unique_ptr<Session>> sessions;
  constexpr int kSessions = 12;
  sessions.reserve(kSessions);
  for (int i = 0; i < kSessions; ++i) {
    sessions.push_back(std::make_unique<Session>(SessionName{"t", std::to_string(i)}));
  }
  int64_t tokens = 1;
  for (int step = 0; step < 20'000; ++step) {
    Session& session = *sessions[draw(sessions.size())];
    const SessionContents& contents = session.holding.contents;
    switch (draw(8)) {
      case 0: {
        engine::State state(SlotOf(++tokens, 100));
        std::vector<PartPtr> chunks = *contents.chunks;
        for (size_t i = 0; i <= chunks.size(); ++i) state.archive.push_back(NewChunk(i));
        Holding holding = HoldingOf({MakePoint(state, true, chunks)}, draw(2) == 0);
        holding.contents.chunks = ChunkList(chunks);
        holding.contents.tail->log.resize(draw(20));
        memory.Set(session, std::move(holding));
        break;
      }
      case 1: {  // a fork
        const Session& parent = *sessions[draw(sessions.size())];
        if (parent.exists && parent.holding.contents.tail != nullptr) {
          memory.Set(session, parent.holding);
        }
        break;
      }
      case 2:
        if (session.exists && draw(4) == 0) memory.Clear(session);
        break;
      case 3:
        if (session.exists) memory.SetTurn(session, !session.turn);
        break;
      case 4:
        if (session.exists) memory.Use(session);
        break;
      case 5:
        memory.Unpark(session);
        if (!session.turn) memory.Park(session);
        break;
      case 6:
        memory.Free(static_cast<int64_t>(draw(500)));
        break;
      default:  // it is used again
        if (!session.exists) break;
        if (contents.tail == nullptr) memory.Attach(session, std::make_shared<Tail>());
        for (const PartPtr& part : PartsOf(contents)) {
          if (draw(2) == 0) {
            if (part->kind == Part::Kind::kChunk) {
              memory.Attach(*part, NewChunk(part->begin));
            } else {
              memory.Attach(*part, engine::SnapshotPtr(std::make_shared<engine::Snapshot>(
                                       part->tokens, part->bytes)));
            }
          }
        }
    }
    const SessionStats expected = Recount(sessions);
    ASSERT_EQ(memory.stats().active, expected.active) << step;
    ASSERT_EQ(memory.stats().in_memory, expected.in_memory) << step;
    ASSERT_EQ(memory.stats().on_disk, expected.on_disk) << step;
    ASSERT_EQ(memory.stats().memory_bytes, expected.memory_bytes) << step;
    ASSERT_EQ(memory.stats().disk_bytes, expected.disk_bytes) << step;
  }
}

}  // namespace
}  // namespace fmaserver::sessions
