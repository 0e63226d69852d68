// What tests of sessions in a store have in common.
#pragma once

#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "tests/server/sessions/fake_states.h"
#include "tests/server/sessions/shelf/redis/redis_server.h"

namespace fmaserver::sessions {

class RedisTest : public ::testing::Test {
 protected:
  static std::unique_ptr<SessionStore> Open(StoreOptions options) {
    return testing::OpenStore({.store = std::move(options), .rewind_points = 2});
  }

  static std::unique_ptr<SessionStore> Open(const testing::RedisServer& redis,
                                            double timeout = 20) {
    StoreOptions options = redis.options();
    options.timeout_seconds = timeout;
    return Open(std::move(options));
  }

  /// That every item has owners, and the other way round.
  static void ExpectTidy(const testing::RedisServer& redis) {
    EXPECT_EQ(redis.Count("*:state:*") + redis.Count("*:chunks:*"), 2 * redis.Count("*:owners"));
  }

  /// One turn, which is durable or is not.
  static void Turn(SessionStore& store, testing::Text& text, bool durable = true) {
    const auto info =
        testing::RunArchivedTurn(store, testing::kTalk, text, testing::NextTokens(text, 10, 1));
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->durable, durable);
  }

  static void ExpectTurn(SessionStore& store, const testing::Text& text,
                         const SessionName& name = testing::kTalk) {
    const auto turn = store.BeginTurn(name);
    ASSERT_TRUE(turn.ok()) << turn.status();
    testing::ExpectTurnOf(**turn, text, /*archived=*/true);
  }

  /// What a server says that has not the session in memory; UNAVAILABLE.
  static std::string WhyAway(const StoreOptions& options) {
    const auto gone = Open(options)->Get(testing::kTalk);
    EXPECT_EQ(gone.status().code(), absl::StatusCode::kUnavailable) << gone.status();
    return std::string(gone.status().message());
  }
};

}  // namespace fmaserver::sessions
