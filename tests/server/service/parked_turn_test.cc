// Sessions whose states are kept in fewer bytes between turns: what a turn answers depends on the
// turns before it, and not on where the session was meanwhile.
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "base/text.h"
#include "tests/server/service/service_fixture.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

/// Every bit of an answer: a single parked state need not change a token.
struct TurnAnswer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;

  void Add(const TurnAnswer& other) {
    tokens.insert(tokens.end(), other.tokens.begin(), other.tokens.end());
    logprobs.insert(logprobs.end(), other.logprobs.begin(), other.logprobs.end());
  }
  bool operator==(const TurnAnswer&) const = default;
};

constexpr int kTurns = 5;

TestServiceOptions Options(bool opens, const std::filesystem::path& dir = {},
                           std::optional<kernels::CacheType> parked = kernels::CacheType::kInt8) {
  return {.engine = {.num_slots = 4,
                     .max_queue = 100,
                     .archive = {.bytes = int64_t{1} << 24},
                     .parked_type = parked},
          .sessions = {.dir = dir},
          .opens = opens};
}

TurnAnswer AnswerOf(const GenerateCall::Door& door) {
  TurnAnswer answer;
  for (const service::GenerateEvent& event : door.events()) {
    if (const auto* delta = std::get_if<engine::Delta>(&event)) {
      answer.Add({delta->tokens, delta->logprobs});
    }
  }
  return answer;
}

service::GenerateRequest RequestOf(const std::string& session, const std::string& text,
                                   int64_t max_tokens) {
  service::GenerateRequest request = TextRequest(text, max_tokens);
  request.session_id = session;
  request.options.logprobs = true;
  return request;
}

TurnAnswer Ask(TestService& service, const std::string& session, const std::string& text,
               int64_t max_tokens) {
  GenerateCall call(service, RequestOf(session, text, max_tokens));
  const absl::Status status = call.Run();
  EXPECT_TRUE(status.ok()) << status;
  return AnswerOf(call.door());
}

TurnAnswer Turn(TestService& service, int turn) {
  return Ask(service, kStory.id, Concat("turn ", turn, " asks about page ", turn * 7), 60);
}

std::string BlobOf(TestService& service) {
  const auto blob = service.sessions().Export(kStory, /*head_only=*/true);
  Require(blob.status());
  auto bytes = (*blob)->Next(size_t{1} << 30);
  Require(bytes.status());
  return *bytes;
}

void Import(TestService& service, const std::string& blob) {
  const auto import = service.sessions().Import(kStory, {});
  Require(import.status());
  Require((*import)->Write(blob));
  Require((*import)->Finish().status());
}

class ParkedTurnTest : public ::testing::TestWithParam<bool> {
 protected:
  bool opens() const { return GetParam(); }

  /// What a session that stays in memory answers.
  std::vector<TurnAnswer> Undisturbed(std::optional<kernels::CacheType> parked) {
    TestService service(Options(opens(), {}, parked));
    Require(service.sessions().Create(kStory, {}).status());
    std::vector<TurnAnswer> answers;
    for (int turn = 0; turn < kTurns; ++turn) answers.push_back(Turn(service, turn));
    return answers;
  }
};

TEST_P(ParkedTurnTest, AnswersDoNotDependOnWhereTheSessionWas) {
  const auto expected = Undisturbed(kernels::CacheType::kInt8);
  EXPECT_FALSE(Undisturbed({}) == expected) << "of no use unless rounding is seen";
  const TempFolder folder;
  std::string blob;
  for (int turn = 0; turn < kTurns; ++turn) {
    TestService disk(Options(opens(), folder.path()));  // a restart before every turn
    TestService blobs(Options(opens()));
    if (turn == 0) {
      Require(disk.sessions().Create(kStory, {}).status());
      Require(blobs.sessions().Create(kStory, {}).status());
    } else {
      Import(blobs, blob);
    }
    EXPECT_TRUE(Turn(disk, turn) == expected[turn]) << turn;
    EXPECT_TRUE(Turn(blobs, turn) == expected[turn]) << turn;
    blob = BlobOf(blobs);
  }
}

TEST_P(ParkedTurnTest, SessionsCountTheBytesOfParkedStates) {
  for (const auto parked : {kernels::CacheType::kBF16, kernels::CacheType::kInt8}) {
    TestService service(Options(opens(), {}, parked));
    Require(service.sessions().Create(kStory, {}).status());
    (void)Turn(service, 0);
    const int64_t bytes = service.engine().parking().bytes();
    EXPECT_LT(bytes, service.engine().model().slot_bytes());
    const auto info = service.sessions().Get(kStory);
    EXPECT_EQ(info->rewind_points.size(), 1);
    int64_t archive = 0;
    const auto turn = service.sessions().BeginTurn(kStory);
    for (const auto& chunk : (*turn)->state().archive) archive += chunk->bytes();
    EXPECT_EQ(info->bytes, bytes + archive);
    const int64_t log = info->tokens * int64_t{sizeof(int32_t)};
    EXPECT_EQ(service.sessions().Stats().memory_bytes, bytes + log);
  }
}

// Forks go on from the parked state too, and so does a turn after a rewind to it.
TEST_P(ParkedTurnTest, ForksAndRewindsAnswerAlike) {
  TestService service(Options(opens()));
  Require(service.sessions().Create(kStory, {}).status());
  (void)Turn(service, 0);
  const int64_t tokens = service.sessions().Get(kStory)->tokens;
  const auto forks = service.sessions().Fork(kStory, 1);
  Require(forks.status());
  const TurnAnswer answer = Turn(service, 1);
  EXPECT_TRUE(Ask(service, forks->front().id, "turn 1 asks about page 7", 60) == answer);
  Require(service.sessions().Rewind(kStory, tokens).status());
  EXPECT_TRUE(Turn(service, 1) == answer);
}

// What a prompt finds in the cache depends on what the server read before.
TEST_P(ParkedTurnTest, CachedPrefixesAreNotRounded) {
  const std::string prompt(200, 'p');
  TestServiceOptions uncached = Options(opens());
  uncached.engine.prefix_cache_bytes = 0;
  TestService without(uncached);
  TestService with(Options(opens()));
  TurnAnswer expected;
  for (TestService* service : {&without, &with, &with, &with}) {
    const std::string id = service->sessions().Create({kDefaultTenant, ""}, {})->id;
    const TurnAnswer answer = Ask(*service, id, prompt, 60);
    if (expected.tokens.empty()) expected = answer;
    EXPECT_TRUE(answer == expected);
  }
}

TEST_P(ParkedTurnTest, AnInterruptedTurnGoesOnWithTheSameTokens) {
  const int64_t kLong = opens() ? 6000 : 20'000;
  const std::string text = "abc";
  TestService service(Options(opens()));
  Require(service.sessions().Create(kStory, {}).status());
  Require(service.sessions().Create({kDefaultTenant, "whole"}, {}).status());
  const TurnAnswer expected = Ask(service, "whole", text, kLong);
  EXPECT_TRUE(Eventually([&] { return service.engine().FreeSlots() == 4; }));

  std::string token;
  TurnAnswer answer;
  {
    GenerateCall cut(service, RequestOf(kStory.id, text, kLong));
    EXPECT_TRUE(Eventually([&] { return service.engine().FreeSlots() == 3; }));
    std::thread drain([&] { service.engine().Drain(absl::Milliseconds(30)); });
    EXPECT_EQ(cut.Run().code(), absl::StatusCode::kUnavailable);
    drain.join();
    token = cut.resume_token();
    answer = AnswerOf(cut.door());
  }
  ASSERT_FALSE(token.empty());
  ASSERT_LT(std::ssize(answer.tokens), kLong);
  const auto door = ResumeElsewhere(
      MakeTestEngine(opens() ? OpeningModelConfig() : ByteModelConfig(), Options(opens()).engine),
      service.shared_sessions(), token);
  answer.Add(AnswerOf(*door));
  EXPECT_EQ(answer.tokens, expected.tokens);
  EXPECT_TRUE(answer == expected);
  EXPECT_EQ(service.sessions().BeginTurn(kStory).value()->state().slot->type(),
            kernels::CacheType::kInt8);
}

INSTANTIATE_TEST_SUITE_P(Models, ParkedTurnTest, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "Opening" : "Plain"; });

TEST(ParkingTest, ALargerTypeThanTheSlotsIsRefusedByName) {
  const model::ModelConfig config = ByteModelConfig();
  const auto parking = engine::Parking::Create(
      config.attention, config.num_layers, kernels::CacheType::kInt8, kernels::CacheType::kBF16);
  EXPECT_EQ(parking.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(parking.status().message(),
            "parked dtype is \"bf16\"; allowed: as-is or int8, as slots are int8");
  const auto halves =
      engine::Parking::Create(config.attention, config.num_layers, kernels::CacheType::kBF16, {});
  Require(halves.status());
  const auto large = std::make_shared<engine::Snapshot>(1, 100);
  EXPECT_EQ(halves->Restore(large).status().message(),
            "type of the state is \"f32\"; allowed: bf16 or int8, as slots are bf16");
  const auto odd = std::make_shared<engine::Snapshot>(1, 7, kernels::CacheType::kInt8);
  EXPECT_EQ(halves->Restore(odd).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace fmaserver::testing
