// Turns of sessions: what they cost, and when they let go of their session.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <latch>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "server/service/turn_record.h"
#include "tests/server/service/service_fixture.h"

namespace fmaserver::testing {
namespace {

using ::testing::HasSubstr;

const sessions::SessionName kTalk{.tenant = kDefaultTenant, .id = "talk"};

service::GenerateRequest Turn(const std::string& text, int64_t max_tokens) {
  service::GenerateRequest request = TextRequest(text, max_tokens);
  request.session_id = kTalk.id;
  if (text.empty()) request.prompt = {};
  return request;
}

class TurnTest : public ::testing::Test {
 protected:
  TurnTest() { Require(service_.sessions().Create(kTalk, {}).status()); }

  bool IsActive() {
    return service_.sessions().Get(kTalk)->place == sessions::SessionPlace::kActive;
  }

  TestService service_{{.limits = {.prompt_tokens = 10}}};
};

TEST_F(TurnTest, ASessionGrowsByEachTurn) {
  for (int turn = 1; turn <= 3; ++turn) {
    GenerateCall call(service_, Turn("abcd", 6));
    EXPECT_TRUE(call.Run().ok());
    ASSERT_NE(call.finished(), nullptr);
    ASSERT_TRUE(call.finished()->session.has_value());
    EXPECT_EQ(call.finished()->session->tokens, turn * 10);
    EXPECT_FALSE(IsActive()) << "whoever has the end finds the session free";
  }
}

// The session's earlier tokens were read, limited and charged in earlier turns.
TEST_F(TurnTest, OnlyWhatTheCallerSentIsLimitedAndCharged) {
  GenerateCall first(service_, Turn("abc", 50));
  EXPECT_TRUE(first.Run().ok());
  Require(service_.sessions().Rewind(kTalk, 40).status());
  service_.reports().Forget();
  {
    GenerateCall second(service_, Turn("de", 1));
    const absl::Status status = second.Run();
    EXPECT_TRUE(status.ok()) << status;
    ASSERT_NE(second.finished(), nullptr);
    EXPECT_EQ(second.finished()->end.usage.prompt_tokens, 2);
  }
  EXPECT_EQ(service_.reports().Await(service::kGenerate).usage.prompt_tokens, 2);
  GenerateCall long_one(service_, Turn("more than ten tokens", 1));
  EXPECT_EQ(long_one.Run().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(TurnTest, ARefusedTurnLetsGoBeforeItsCallerKnows) {
  service::GenerateRequest request = Turn("a", 1);
  request.options.sampling.temperature = -1;
  absl::Status next;
  GenerateCall refused(service_, request,
                       {.at_end = [&] { next = service_.sessions().BeginTurn(kTalk).status(); }});
  EXPECT_EQ(refused.Run().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(next.ok()) << next;
}

TEST_F(TurnTest, ASessionCanBeginAndEndWithATurn) {
  const sessions::SessionName brief{.tenant = kDefaultTenant, .id = "brief"};
  const auto run = [&](service::SessionEnds ends, float temperature = 1) {
    service::GenerateRequest request = Turn("abcd", 6);
    request.session_id = brief.id;
    request.session_ends = ends;
    request.options.sampling.temperature = temperature;
    return GenerateCall(service_, request).Run().code();
  };
  const auto get = [&] { return service_.sessions().Get(brief); };
  EXPECT_EQ(run({}), absl::StatusCode::kNotFound);
  EXPECT_EQ(run({.first = true}, -1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(get().status().code(), absl::StatusCode::kNotFound) << "it goes with its first turn";
  EXPECT_EQ(run({.first = true}), absl::StatusCode::kOk);
  EXPECT_EQ(get()->tokens, 10);
  EXPECT_EQ(run({.first = true}), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(run({.last = true}, -1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(get()->tokens, 10) << "a turn that fails changes nothing";
  EXPECT_EQ(run({.last = true}), absl::StatusCode::kOk);
  EXPECT_EQ(get().status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(run({.first = true, .last = true}), absl::StatusCode::kOk);
  EXPECT_EQ(get().status().code(), absl::StatusCode::kNotFound);
}

TEST_F(TurnTest, TurnsAreAdmittedBeforeTheyWaitForTheDisk) {
  service_.engine().Drain(absl::ZeroDuration());
  GenerateCall call(service_, Turn("a", 1));
  EXPECT_EQ(call.Run().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(call.parsed());
}

// Releasing a session may take as long as its disk takes, and the engine has other streams.
TEST_F(TurnTest, TheEngineDoesNotWaitForTheEndOfATurn) {
  GenerateCall call(service_, Turn("a", 100'000'000));
  EXPECT_TRUE(Eventually([this] { return service_.engine().FreeSlots() == 3; }));
  std::latch hung(1);
  for (int i = 0; i < 4; ++i) service_->disk().Continue([&hung] { hung.wait(); });
  call.call().OnCancel(absl::CancelledError("gone"));
  EXPECT_TRUE(absl::IsCancelled(call.Run()));
  EXPECT_TRUE(Eventually([this] { return service_.engine().FreeSlots() == 4; }));
  GenerateCall other(service_, TextRequest("b", 5));
  EXPECT_TRUE(other.Run().ok());
  EXPECT_TRUE(IsActive()) << "its end waits for a thread";
  hung.count_down();
  EXPECT_TRUE(Eventually([this] { return !IsActive(); }));
  EXPECT_EQ(service_.sessions().Get(kTalk)->tokens, 0) << "a cancelled turn leaves no trace";
}

TEST_F(TurnTest, ATurnThatAnEarlierVersionStoredIsRefusedAndTheSessionGoesOn) {
  std::string token;
  {
    const auto turn = service_.sessions().BeginTurn(kTalk);
    ASSERT_TRUE(turn.ok());
    const auto interrupted = (*turn)->Interrupt({'a', 'b'}, {},
                                                {.request = "a message of the API",
                                                 .seed = 1,
                                                 .generated = 1,
                                                 .format = sessions::RequestFormat::kApiMessage});
    ASSERT_TRUE(interrupted.ok()) << interrupted.status();
    token = *interrupted;
  }
  service::GenerateRequest resume;
  resume.resume_token = token;
  GenerateCall refused(service_, resume);
  const absl::Status status = refused.Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("allowed: session_id and no prompt"));
  GenerateCall next(service_, Turn("", 3));
  EXPECT_TRUE(next.Run().ok());
  EXPECT_EQ(next.finished()->session->tokens, 5);
}

TEST_F(TurnTest, AnInterruptedTurnGoesOnWithTheSameTokens) {
  const sessions::SessionName kCopy{.tenant = kDefaultTenant, .id = "copy"};
  Require(service_.sessions().Create(kCopy, {}).status());
  service::GenerateRequest request = Turn("abc", 20'000);
  request.options.sampling.repetition_penalty = 1.05F;
  request.session_id = kCopy.id;
  GenerateCall whole(service_, request);
  EXPECT_TRUE(whole.Run().ok());
  EXPECT_TRUE(Eventually([this] { return service_.engine().FreeSlots() == 4; }));

  request.session_id = kTalk.id;
  std::string token;
  int64_t before = 0;
  {
    GenerateCall cut(service_, request);
    EXPECT_TRUE(Eventually([this] { return service_.engine().FreeSlots() == 3; }));
    std::thread drain([this] { service_.engine().Drain(absl::Milliseconds(30)); });
    EXPECT_EQ(cut.Run().code(), absl::StatusCode::kUnavailable);
    drain.join();
    token = cut.resume_token();
    before = cut.CountTokens();
  }
  ASSERT_FALSE(token.empty());
  const auto door = ResumeElsewhere(MakeTestEngine(ByteModelConfig(), {.num_slots = 2}),
                                    service_.shared_sessions(), token);
  const auto& end = std::get<service::GenerationFinished>(door->events().back());
  EXPECT_EQ(end.end.usage.prompt_tokens, 0);
  EXPECT_EQ(end.end.usage.generated_tokens, 20'000);
  EXPECT_EQ(end.session->tokens, 20'003);
  EXPECT_GT(before, 0);
}

}  // namespace
}  // namespace fmaserver::testing
