// Sessions in a store whose replica takes over, behind one address.
#include <thread>

#include "base/text.h"
#include "gmock/gmock.h"
#include "tests/server/sessions/shelf/redis/forwarder.h"
#include "tests/server/sessions/shelf/redis/redis_fixture.h"

namespace fmaserver::sessions {
namespace {

using testing::Forwarder;
using ::testing::HasSubstr;
using testing::kTalk;
using testing::RedisServer;
using testing::Text;

/// A primary, its replica, and the address of the primary.
class FailoverTest : public RedisTest {
 protected:
  FailoverTest() { AwaitLink(replica_); }

  StoreOptions At(int replicas = 0) const {
    StoreOptions options = RedisServer::OptionsFor(address_.port());
    options.replicas = replicas;
    return options;
  }

  static void AwaitLink(const RedisServer& replica) {
    while (Replication(replica, "master_link_status") != "up") Pause();
  }

  /// Until the replica has what the primary has. WAIT would not do: it counts what its own
  /// connection wrote, which here is nothing.
  void AwaitData() const {
    while (Replication(primary_, "master_repl_offset") !=
           Replication(replica_, "slave_repl_offset")) {
      Pause();
    }
  }

  static void Pause() { std::this_thread::sleep_for(std::chrono::milliseconds(10)); }

  /// What `INFO replication` says of a name.
  static std::string Replication(const RedisServer& server, std::string_view name) {
    const std::string info = server.Ask({"INFO", "replication"});
    const size_t at = info.find(Concat("\n", name, ":"));
    if (at == std::string::npos) return "";
    const size_t begin = at + name.size() + 2;
    return info.substr(begin, info.find('\r', begin) - begin);
  }

  void Promote() { ASSERT_EQ(replica_.Ask({"REPLICAOF", "NO", "ONE"}), "OK"); }

  RedisServer primary_;
  RedisServer replica_{{"--replicaof", "127.0.0.1", std::to_string(primary_.port())}};
  Forwarder address_{primary_.port()};
};

TEST_F(FailoverTest, SessionsGoOnWithTheReplica) {
  const auto store = Open(At());
  Text text;
  ASSERT_TRUE(store->Create(kTalk, {}).ok());
  for (int i = 0; i < 3; ++i) Turn(*store, text);
  AwaitData();
  const Text acknowledged = text;
  primary_.Kill();
  Turn(*store, text, /*durable=*/false);
  EXPECT_THAT(WhyAway(At()), HasSubstr(At().url));
  // The address leads to the replica before that is one that takes writes.
  address_.To(replica_.port());
  Turn(*store, text, /*durable=*/false);
  ExpectTurn(*Open(At()), acknowledged);
  replica_.Ask({"CONFIG", "SET", "replica-serve-stale-data", "no"});
  Turn(*store, text, /*durable=*/false);
  EXPECT_THAT(WhyAway(At()), HasSubstr("MASTERDOWN"));
  Promote();
  Turn(*store, text);
  ExpectTurn(*Open(At()), text);
  ExpectTidy(replica_);
}

// The old primary lives on as a replica, and connections to it are still open.
TEST_F(FailoverTest, NoConnectionToAnOldPrimaryIsUsedTwice) {
  const auto store = Open(At());
  Text text;
  ASSERT_TRUE(store->Create(kTalk, {}).ok());
  Turn(*store, text);
  std::vector<std::thread> calls;
  for (int i = 0; i < 8; ++i) {
    calls.emplace_back([&] { EXPECT_TRUE(store->List(kDefaultTenant, "", 10).ok()); });
  }
  for (std::thread& call : calls) call.join();
  AwaitData();
  Promote();
  ASSERT_EQ(primary_.Ask({"REPLICAOF", "127.0.0.1", std::to_string(replica_.port())}), "OK");
  address_.To(replica_.port());
  Turn(*store, text, /*durable=*/false);  // READONLY
  Turn(*store, text);
  ExpectTurn(*Open(At()), text);
}

TEST_F(FailoverTest, DurableMeansThatReplicasHaveIt) {
  const auto store = Open(At(/*replicas=*/1));
  Text text;
  ASSERT_TRUE(store->Create(kTalk, {}).ok());
  for (int i = 0; i < 2; ++i) Turn(*store, text);
  const Text both = text;
  // Promoted while the primary still takes writes, it has none of these.
  Promote();
  Turn(*store, text, /*durable=*/false);
  const SessionName fork{kDefaultTenant, store->Fork(kTalk, 1)->front().id};
  primary_.Kill();
  address_.To(replica_.port());
  ExpectTurn(*Open(At()), both);
  const RedisServer second({"--replicaof", "127.0.0.1", std::to_string(replica_.port())});
  AwaitLink(second);
  ExpectTurn(*store, text, fork);
  ASSERT_TRUE(store->Update(fork, {.pinned = true}).ok());
  ExpectTurn(*Open(At()), text, fork);
  Turn(*store, text);  // with what was in memory alone
  ExpectTurn(*Open(At()), text);
}

// Which of them it was is known: what another server has saved is not overwritten.
TEST_F(FailoverTest, AnotherServersTurnAfterAFailoverWins) {
  const auto store = Open(At(/*replicas=*/1));
  Text text;
  ASSERT_TRUE(store->Create(kTalk, {}).ok());
  Turn(*store, text);
  Promote();
  Text lost = text;
  Turn(*store, lost, /*durable=*/false);
  primary_.Kill();
  address_.To(replica_.port());
  const auto other = Open(At());
  Turn(*other, text);
  ExpectTurn(*store, text);
}

}  // namespace
}  // namespace fmaserver::sessions
