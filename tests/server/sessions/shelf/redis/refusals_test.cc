// What a store that answers may say instead of an answer: turns go on in memory, and all is saved
// when it is over.
#include <functional>
#include <thread>

#include "gmock/gmock.h"
#include "tests/server/sessions/shelf/redis/forwarder.h"
#include "tests/server/sessions/shelf/redis/redis_fixture.h"

namespace fmaserver::sessions {
namespace {

using ::testing::AllOf;
using testing::Forwarder;
using ::testing::HasSubstr;
using testing::kTalk;
using testing::NextTokens;
using testing::RedisServer;
using testing::RunArchivedTurn;
using testing::Text;

class RefusalsTest : public RedisTest {
 protected:
  /// A turn that is durable, one while `begin` has its effect, and one after `end`.
  void TryTrouble(const std::string& code, const std::function<void()>& begin,
                  const std::function<void()>& end) {
    const auto store = Open(redis_);
    Text text;
    ASSERT_TRUE(store->Create(kTalk, {}).ok());
    Turn(*store, text);
    begin();
    Turn(*store, text, /*durable=*/false);
    EXPECT_THAT(WhyAway(redis_.options()), AllOf(HasSubstr(redis_.options().url), HasSubstr(code)));
    end();
    Turn(*store, text);
    ExpectTurn(*Open(redis_), text);
    ExpectTidy(redis_);
  }

  /// As it always is, or with these words until it says this.
  void Restart() {
    redis_.Kill();
    redis_.Start();
  }
  void Restart(const std::vector<std::string>& words, const std::string& until) {
    redis_.Kill();
    redis_.Begin(words);
    while (redis_.Ask({"PING"}).find(until) == std::string::npos) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

  RedisServer redis_;
};

TEST_F(RefusalsTest, ABusyStore) {
  std::thread busy;
  redis_.Ask({"CONFIG", "SET", "lua-time-limit", "1"});
  TryTrouble(
      "BUSY",
      [&] {
        busy = std::thread([&] { redis_.Ask({"EVAL", "while true do end", "0"}); });
        while (redis_.Ask({"PING"}) == "PONG") {
        }
      },
      [&] {
        redis_.Ask({"SCRIPT", "KILL"});
        busy.join();
      });
}

TEST_F(RefusalsTest, AStoreThatAsksForALogin) {
  TryTrouble(
      "NOAUTH",
      [&] {
        Restart({"--requirepass", "hush"}, "NOAUTH");
      },
      [&] { Restart(); });
}

// Its keys take half a minute, and it looks at its connections after some of them.
TEST_F(RefusalsTest, AStoreThatLoads) {
  redis_.Ask({"EVAL", "for i = 1, 20000 do redis.call('SET', 'x' .. i, '') end", "0"});
  TryTrouble(
      "LOADING",
      [&] {
        ASSERT_EQ(redis_.Ask({"SAVE"}), "OK");
        Restart({"--appendonly", "no", "--key-load-delay", "1500",
                 "--loading-process-events-interval-bytes", "1024"},
                "LOADING");
      },
      [&] { Restart(); });
}

// It is read all the same.
TEST_F(RefusalsTest, AStoreThatWantsReplicas) {
  const auto store = Open(redis_);
  Text text;
  ASSERT_TRUE(store->Create(kTalk, {}).ok());
  Turn(*store, text);
  redis_.Ask({"CONFIG", "SET", "min-replicas-to-write", "1"});
  ExpectTurn(*Open(redis_), text);
  Turn(*store, text, /*durable=*/false);
  redis_.Ask({"CONFIG", "SET", "min-replicas-to-write", "0"});
  Turn(*store, text);
  ExpectTurn(*Open(redis_), text);
}

class RepliesTest : public RedisTest {
 protected:
  static constexpr double kTimeout = 0.5;  // of a reply that does not go on

  RepliesTest() {
    StoreOptions options = RedisServer::OptionsFor(address_.port());
    options.timeout_seconds = kTimeout;
    store_ = Open(std::move(options));
    EXPECT_TRUE(store_->Create(kTalk, {}).ok());
  }

  /// A turn that is saved in the end.
  void TurnAfterAll() {
    address_.Mend();
    const auto is_saved = [&] { return store_->Update(kTalk, {.ttl_seconds = 1000})->durable; };
    while (!is_saved()) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ExpectTurn(*Open(redis_), text_);
  }

  RedisServer redis_;
  Forwarder address_{redis_.port()};
  std::unique_ptr<SessionStore> store_;
  Text text_;
};

TEST_F(RepliesTest, HalfOfOne) {
  for (const int64_t bytes : {0, 1, 5, 20, 30, 50, 100, 200, 500}) {
    SCOPED_TRACE(bytes);
    address_.CutReplies(bytes);
    // It may be saved or not, and the store may know more about that than the server.
    const auto turn = RunArchivedTurn(*store_, kTalk, text_, NextTokens(text_, 10, 1));
    ASSERT_TRUE(turn.ok()) << turn.status();
    TurnAfterAll();
  }
  ExpectTidy(redis_);
}

TEST_F(RepliesTest, ForeignOnes) {
  for (const char* answer :
       {"HTTP/1.1 400 Bad Request\r\n\r\n", "+OK\r\n", ":1\r\n", "$-1\r\n", "*0\r\n",
        "*1\r\n:1\r\n", "*2\r\n$5\r\nsaved\r\n:1\r\n", "*2\r\n$7\r\nmissing\r\n$-1\r\n",
        "*2\r\n$7\r\nmissing\r\n$1\r\nx\r\n", "*-2\r\n", "\r\n", "*2147483647\r\n",
        "-NOSCRIPT none\r\n", "-MOVED 1 127.0.0.1:1\r\n"}) {
    SCOPED_TRACE(answer);
    address_.Answer(answer);
    const auto turn = RunArchivedTurn(*store_, kTalk, text_, NextTokens(text_, 10, 1));
    ASSERT_TRUE(turn.ok()) << turn.status();
    EXPECT_FALSE(turn->durable);
  }
  TurnAfterAll();
}

class ClusterTest : public RedisTest {
 protected:
  static std::vector<std::string> Words(int bus) {
    return {"--cluster-enabled", "yes", "--cluster-port", std::to_string(bus)};
  }

  const int bus_ = RedisServer::FreePort();
  const int other_bus_ = RedisServer::FreePort();
  RedisServer redis_{Words(bus_)};
  RedisServer other_{Words(other_bus_)};
};

TEST_F(ClusterTest, IsNotSpoken) {
  EXPECT_THAT(WhyAway(redis_.options()),
              AllOf(HasSubstr("it is a cluster"), HasSubstr("CLUSTERDOWN")));
  other_.Ask({"CLUSTER", "ADDSLOTSRANGE", "0", "16383"});
  redis_.Ask(
      {"CLUSTER", "MEET", "127.0.0.1", std::to_string(other_.port()), std::to_string(other_bus_)});
  std::string why;
  while (why.find("MOVED") == std::string::npos) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    why = WhyAway(redis_.options());
    ASSERT_THAT(why, HasSubstr("it is a cluster"));
  }
}

}  // namespace
}  // namespace fmaserver::sessions
