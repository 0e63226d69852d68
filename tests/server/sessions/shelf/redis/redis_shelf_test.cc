// Sessions in a real redis-server: restarts, several servers, stores that are away, hang or are
// full.
#include "server/sessions/shelf/redis/redis_shelf.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/sessions/fake_states.h"
#include "tests/server/sessions/shelf/redis/redis_fixture.h"

namespace fmaserver::sessions {
namespace {

using ::testing::HasSubstr;
using testing::kTalk;
using testing::NextTokens;
using testing::RedisServer;
using testing::RunTurn;
using testing::Text;

TEST_F(RedisTest, AnotherServerGoesOn) {
  const RedisServer redis;
  const auto first = Open(redis);
  const auto second = Open(redis);
  Text text;
  ASSERT_TRUE(first->Create(kTalk, {}).ok());
  for (int turn = 0; turn < 10; ++turn) Turn(turn % 3 == 0 ? *first : *second, text);
  ExpectTurn(*Open(redis), text);
  EXPECT_EQ(first->Create(kTalk, {}).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(first->List(kDefaultTenant, "", 10)->sessions.size(), 1);
  ExpectTidy(redis);
  ASSERT_TRUE(second->Delete(kTalk).ok());
  EXPECT_EQ(first->Get(kTalk).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(first->List(kDefaultTenant, "", 10)->sessions.size(), 0);
  EXPECT_EQ(redis.Count("*"), 1) << "only the hash of the store is left";
}

TEST_F(RedisTest, TheFasterServerWins) {
  const RedisServer redis;
  const auto first = Open(redis);
  const auto second = Open(redis);
  Text text;
  ASSERT_TRUE(first->Create(kTalk, {}).ok());
  Turn(*first, text);
  auto slow = first->BeginTurn(kTalk);
  ASSERT_TRUE(slow.ok()) << slow.status();
  Turn(*second, text);
  const auto lost = (*slow)->Commit(NextTokens(text, 10, 9), testing::ArchivedAfter(text, 15, {}));
  EXPECT_EQ(lost.status().code(), absl::StatusCode::kAborted) << lost.status();
  EXPECT_THAT(std::string(lost.status().message()), HasSubstr("another server"));
  ExpectTurn(*first, text);
  EXPECT_TRUE(first->Rewind(kTalk, 5).ok());
  const auto stale = second->Get(kTalk);
  ASSERT_TRUE(stale.ok());
  EXPECT_EQ(stale->tokens, 5);
}

TEST_F(RedisTest, ForksShareItemsUntilTheLastIsGone) {
  const RedisServer redis;
  const auto store = Open(redis);
  Text text;
  ASSERT_TRUE(store->Create(kTalk, {}).ok());
  for (int turn = 0; turn < 3; ++turn) Turn(*store, text);
  const int64_t items = redis.Count("*:owners");
  const auto forks = store->Fork(kTalk, 3);
  ASSERT_TRUE(forks.ok()) << forks.status();
  EXPECT_EQ(redis.Count("*:owners"), items);
  ASSERT_TRUE(store->Delete(kTalk).ok());
  ExpectTidy(redis);
  for (const SessionInfo& fork : *forks) {
    const SessionName name{kDefaultTenant, fork.id};
    ExpectTurn(*Open(redis), text, name);
    ASSERT_TRUE(store->Delete(name).ok());
  }
  EXPECT_EQ(redis.Count("*"), 1);
}

TEST_F(RedisTest, TheStoreForgetsWhatNobodyUses) {
  const RedisServer redis;
  const auto store = Open(redis);
  Text text;
  ASSERT_TRUE(store->Create(kTalk, {.ttl_seconds = 1000}).ok());
  Turn(*store, text);
  const std::string session = StoreKeys(testing::FakeModel().fingerprint).Session(kTalk);
  const auto left = [&] { return std::stoll(redis.Ask({"PTTL", session})); };
  EXPECT_GT(left(), 1'200'000);
  EXPECT_LE(left(), 1'300'000);
  // A child that lives longer keeps the items that it shares.
  const auto fork = store->Fork(kTalk, 1);
  const SessionName child{kDefaultTenant, fork->front().id};
  ASSERT_TRUE(store->Update(child, {.pinned = true}).ok());
  ASSERT_EQ(redis.Ask({"PEXPIRE", session, "1"}), "1");
  while (redis.Ask({"EXISTS", session}) == "1") {
  }
  EXPECT_EQ(store->Get(kTalk).status().code(), absl::StatusCode::kNotFound);
  ExpectTurn(*Open(redis), text, child);
  ASSERT_TRUE(store->Update(child, {.ttl_seconds = 500, .pinned = false}).ok());
  ExpectTidy(redis);
}

TEST_F(RedisTest, ItIsBackAfterAKill) {
  RedisServer redis;
  const auto store = Open(redis);
  Text text;
  ASSERT_TRUE(store->Create(kTalk, {}).ok());
  Turn(*store, text);
  for (int round = 0; round < 2; ++round) {
    redis.Kill();
    Turn(*store, text, /*durable=*/false);
    Turn(*store, text, /*durable=*/false);
    const auto other = Open(redis);
    const auto gone = other->Get(kTalk);
    EXPECT_EQ(gone.status().code(), absl::StatusCode::kUnavailable) << gone.status();
    EXPECT_THAT(std::string(gone.status().message()), HasSubstr(redis.options().url));
    redis.Start();
    Turn(*store, text);
    ExpectTurn(*other, text);
  }
  ExpectTidy(redis);
}

// What it takes from its socket when it goes on is a save of our own, and not the newest.
TEST_F(RedisTest, ASaveThatComesTooLateIsNotAnotherServers) {
  RedisServer redis;
  const auto store = Open(redis, /*timeout=*/0.3);
  Text text;
  ASSERT_TRUE(store->Create(kTalk, {}).ok());
  // Without a state there is nothing to look for first: the record is all that is sent.
  auto turn = store->BeginTurn(kTalk);
  ASSERT_TRUE(turn.ok()) << turn.status();
  redis.Pause();
  const Text late = NextTokens(text, 3, 1);
  const auto info = (*turn)->Commit(late, {});
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_FALSE(info->durable);
  text.insert(text.end(), late.begin(), late.end());
  turn->reset();
  const Clock::time_point start = Clock::now();
  for (int i = 0; i < 20; ++i) Turn(*store, text, /*durable=*/false);
  EXPECT_LT(SecondsSince(start), 5) << "a store that hangs does not slow every turn";
  redis.Resume();
  // The first that is answered looks at the record.
  while (!store->List(kDefaultTenant, "", 1).ok()) {
  }
  Turn(*store, text);
  ExpectTurn(*store, text);
  ExpectTurn(*Open(redis), text);
  ExpectTidy(redis);
}

TEST_F(RedisTest, AFullStoreCostsDurabilityOnly) {
  RedisServer redis;
  const auto store = Open(redis);
  Text text;
  ASSERT_TRUE(store->Create(kTalk, {}).ok());
  Turn(*store, text);
  const Text saved = text;
  redis.Ask({"CONFIG", "SET", "maxmemory", "1"});
  for (int i = 0; i < 5; ++i) Turn(*store, text, /*durable=*/false);
  ExpectTurn(*Open(redis), saved);
  ExpectTidy(redis);
  redis.Ask({"CONFIG", "SET", "maxmemory", "0"});
  Turn(*store, text);
  ExpectTurn(*Open(redis), text);
  redis.Ask({"CONFIG", "SET", "maxmemory", "1"});
  EXPECT_TRUE(store->Delete(kTalk).ok()) << "room is made in a full store too";
  EXPECT_EQ(redis.Count("*"), 1);
}

TEST_F(RedisTest, AStoreThatLostEverythingGetsItAgain) {
  RedisServer redis;
  const auto store = Open(redis);
  Text text;
  ASSERT_TRUE(store->Create(kTalk, {}).ok());
  for (int i = 0; i < 3; ++i) Turn(*store, text);
  redis.Ask({"FLUSHALL"});
  Turn(*store, text);
  ExpectTurn(*Open(redis), text);
}

// This server has read the newest of the states alone, and has no others in memory.
TEST_F(RedisTest, RewindPointsThatAreLostAreForgotten) {
  RedisServer redis;
  Text text;
  {
    const auto first = Open(redis);
    ASSERT_TRUE(first->Create(kTalk, {}).ok());
    for (int i = 0; i < 3; ++i) Turn(*first, text);
  }
  const auto store = Open(redis);
  ExpectTurn(*store, text);
  redis.Ask({"FLUSHALL"});
  Turn(*store, text);
  ExpectTurn(*Open(redis), text);
}

TEST_F(RedisTest, ScriptsAreSentWholeOnceAlone) {
  RedisServer redis;
  const auto store = Open(redis);
  Text text;
  const auto whole = [&] {
    const std::string stats = redis.Ask({"INFO", "commandstats"});
    redis.Ask({"CONFIG", "RESETSTAT"});
    const size_t at = stats.find("cmdstat_eval:calls=");
    return at == std::string::npos ? 0 : std::stoi(stats.substr(stats.find('=', at) + 1));
  };
  ASSERT_TRUE(store->Create(kTalk, {}).ok());
  Turn(*store, text);
  EXPECT_EQ(whole(), 2) << "one that reads, one that saves";
  for (int i = 0; i < 3; ++i) Turn(*store, text);
  EXPECT_EQ(whole(), 0);
  redis.Ask({"SCRIPT", "FLUSH"});
  Turn(*store, text);
  EXPECT_EQ(whole(), 2);
  redis.Kill();
  redis.Start();
  Turn(*store, text);
  EXPECT_EQ(whole(), 2);
  ExpectTurn(*Open(redis), text);
  ExpectTidy(redis);
}

TEST_F(RedisTest, ADamagedItemIsNamed) {
  RedisServer redis;
  auto store = Open(redis);
  Text text;
  ASSERT_TRUE(store->Create(kTalk, {}).ok());
  Turn(*store, text);
  const std::string state = redis.Ask({"KEYS", "*:state:*"});
  const std::string key = state.substr(0, state.find(":owners")).substr(0, state.find(' '));
  for (const char* bytes : {"", "FMASESS\n", "something else"}) {
    redis.Ask({"SET", key, bytes, "KEEPTTL"});
    store = Open(redis);
    const auto turn = store->BeginTurn(kTalk);
    EXPECT_EQ(turn.status().code(), absl::StatusCode::kDataLoss) << turn.status();
  }
  const std::string session = StoreKeys(testing::FakeModel().fingerprint).Session(kTalk);
  redis.Ask({"HSET", session, "record", "nonsense"});
  EXPECT_EQ(Open(redis)->Get(kTalk).status().code(), absl::StatusCode::kDataLoss);
  redis.Ask({"SET", session, "a string"});
  EXPECT_EQ(Open(redis)->Get(kTalk).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace fmaserver::sessions
