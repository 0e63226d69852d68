// Claims, which of them exclude each other, and what the table counts.
#include "server/sessions/session_table.h"

#include <future>
#include <thread>

#include "gtest/gtest.h"
#include "tests/server/sessions/fake_states.h"
#include "tests/server/sessions/test_clock.h"

namespace fmaserver::sessions {
namespace {

using testing::kTalk;
using testing::TestClock;

constexpr int64_t kBudget = 1000;

Point TablePoint(int64_t tokens, int64_t bytes = 100) {
  std::vector<PartPtr> chunks;
  return MakePoint(engine::SnapshotPtr(std::make_shared<engine::Snapshot>(tokens, bytes)), true,
                   chunks);
}

Holding HoldingOf(std::vector<Point> points, double ttl_seconds = 0) {
  Holding holding;
  holding.contents.tokens = points.empty() ? 0 : points.back().tokens();
  holding.contents.tail = std::make_shared<Tail>();
  holding.contents.points = std::move(points);
  holding.contents.ttl_seconds = ttl_seconds;
  return holding;
}

class SessionTableTest : public ::testing::Test {
 protected:
  ChangeClaim TakeToChange(const SessionName& name = kTalk) {
    return std::get<ChangeClaim>(table_.Take(name));
  }
  void Make(const SessionName& name = kTalk, double ttl_seconds = 0) {
    table_.Set(TakeToChange(name), HoldingOf({TablePoint(5)}, ttl_seconds));
  }
  bool Exists(const SessionName& name = kTalk) { return table_.Exists(TakeToChange(name)); }

  TestClock clock_;
  SessionTable table_{kBudget, clock_.now()};
};

TEST_F(SessionTableTest, ANameThatIsOnlyClaimedIsNoSession) {
  {
    const ChangeClaim claim = TakeToChange();
    EXPECT_FALSE(table_.Exists(claim));
    EXPECT_TRUE(table_.Ids(kDefaultTenant, "").empty());
    EXPECT_EQ(table_.count(), 0);
  }
  EXPECT_FALSE(Exists());
  Make();
  EXPECT_TRUE(Exists());
  EXPECT_EQ(table_.count(), 1);
  table_.Erase(TakeToChange());
  EXPECT_FALSE(Exists());
  EXPECT_EQ(table_.Stats().memory_bytes, 0);
}

TEST_F(SessionTableTest, ReadersShareASessionWithItsTurn) {
  Make();
  const TurnClaim turn = table_.ToTurn(TakeToChange());
  const SessionTable::AnyClaim first = table_.Take(kTalk);
  const SessionTable::AnyClaim second = table_.Take(kTalk);
  ASSERT_TRUE(std::holds_alternative<ReadClaim>(first));
  ASSERT_TRUE(std::holds_alternative<ReadClaim>(second));
  EXPECT_EQ(table_.InfoOf(std::get<ReadClaim>(first)).place, SessionPlace::kActive);
  EXPECT_EQ(table_.Stats().active, 1);
}

TEST_F(SessionTableTest, AChangeWaitsForReadersAndNewOnesWaitForIt) {
  Make();
  std::optional<ReadClaim> reader = table_.ToRead(TakeToChange());
  auto change = std::async(std::launch::async,
                           [&] { table_.Set(TakeToChange(), HoldingOf({TablePoint(9)})); });
  // The reader sees what it claimed for as long as it holds the claim.
  EXPECT_EQ(table_.HoldingOf(*reader).contents.tokens, 5);
  reader.reset();
  change.get();
  EXPECT_EQ(table_.HoldingOf(TakeToChange()).contents.tokens, 9);
}

TEST_F(SessionTableTest, ATurnThatBecomesAChangeWaitsForReaders) {
  Make();
  TurnClaim turn = table_.ToTurn(TakeToChange());
  std::optional<SessionTable::AnyClaim> reader = table_.Take(kTalk);
  std::atomic<bool> changing = false;
  auto change = std::async(std::launch::async, [&] {
    ChangeClaim claim = table_.ToChange(std::move(turn));
    changing = true;
    table_.Set(claim, HoldingOf({TablePoint(9)}));
    return table_.End(std::move(claim));
  });
  EXPECT_EQ(table_.HoldingOf(std::get<ReadClaim>(*reader)).contents.tokens, 5);
  EXPECT_FALSE(changing);
  reader.reset();
  EXPECT_EQ(change.get().tokens, 9);
  EXPECT_EQ(table_.Stats().active, 0);
}

TEST_F(SessionTableTest, NothingClaimedLeavesMemory) {
  Holding holding = HoldingOf({TablePoint(5, 2 * kBudget)});
  holding.durable = true;
  const std::vector<PartPtr> parts = PartsOf(holding.contents);
  std::optional<ReadClaim> reader;
  {
    ChangeClaim claim = TakeToChange();
    table_.Set(claim, std::move(holding));
    reader = table_.ToRead(std::move(claim));
  }
  EXPECT_FALSE(table_.Fits());
  EXPECT_TRUE(table_.BytesOf(*reader, parts).front());
  EXPECT_NE(table_.HoldingOf(*reader).contents.tail, nullptr);
  reader.reset();
  EXPECT_TRUE(table_.Fits());
  EXPECT_EQ(table_.Stats().memory_bytes, 0);
  EXPECT_EQ(table_.Stats().on_disk, 1);
}

TEST_F(SessionTableTest, SessionsAreCountedByTenant) {
  for (const char* id : {"a", "b", "c"}) Make({"alice", id});
  Make({"bob", "a"});
  EXPECT_EQ(table_.CountOf("alice"), 3);
  EXPECT_EQ(table_.CountOf("bob"), 1);
  EXPECT_EQ(table_.CountOf("carol"), 0);
  table_.Set(TakeToChange({"alice", "b"}), HoldingOf({}));  // again, not once more
  EXPECT_EQ(table_.CountOf("alice"), 3);
  table_.Erase(TakeToChange({"alice", "a"}));
  table_.Erase(TakeToChange({"alice", "a"}));
  EXPECT_EQ(table_.CountOf("alice"), 2);
  EXPECT_EQ(table_.Ids("alice", "c"), std::vector<std::string>{"c"});
}

TEST_F(SessionTableTest, ASessionExpiresWhenNobodyHasUsedItForItsTime) {
  Make(kTalk, 10);
  clock_.Advance(9);
  EXPECT_TRUE(table_.Expired({}).empty());
  (void)table_.ToRead(TakeToChange());  // a use
  clock_.Advance(9);
  EXPECT_TRUE(table_.Expired({}).empty());
  EXPECT_EQ(table_.InfoOf(TakeToChange()).idle_seconds, 9);  // a look is none
  clock_.Advance(2);
  EXPECT_EQ(table_.Expired({}), std::vector<SessionName>{kTalk});
  EXPECT_EQ(table_.Expired(kDefaultTenant).size(), 1);
  EXPECT_TRUE(table_.Expired("alice").empty());
  EXPECT_TRUE(table_.IsExpired(TakeToChange()));
  {
    const TurnClaim turn = table_.ToTurn(TakeToChange());
    EXPECT_TRUE(table_.Expired({}).empty());
  }
  EXPECT_TRUE(table_.Expired({}).empty());
}

TEST_F(SessionTableTest, WhoeverReadsKeepsASessionFromExpiring) {
  Make(kTalk, 10);
  const ReadClaim reader = table_.ToRead(TakeToChange());
  clock_.Advance(11);
  EXPECT_TRUE(table_.Expired({}).empty());
}

TEST_F(SessionTableTest, ReservedBytesCountUntilTheyAreGivenUp) {
  {
    const auto first = table_.Reserve(kBudget);
    ASSERT_TRUE(first.has_value());
    EXPECT_FALSE(table_.Reserve(1).has_value());
  }
  EXPECT_TRUE(table_.Reserve(1).has_value());
}

TEST_F(SessionTableTest, AClaimIsGivenBackOnce) {
  Make();
  {
    ChangeClaim claim = TakeToChange();
    ChangeClaim moved = std::move(claim);
    ChangeClaim other = TakeToChange({kDefaultTenant, "other"});
    other = std::move(moved);
  }
  EXPECT_TRUE(Exists());
  EXPECT_FALSE(Exists({kDefaultTenant, "other"}));
}

}  // namespace
}  // namespace fmaserver::sessions
