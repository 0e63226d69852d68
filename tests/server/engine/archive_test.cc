// Engines whose model opens units of its past: what their archives take, and who shares them.
// That they compute the same however a state came about is in state_test.cc.
#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/support/full_disk.h"
#include "tests/support/lost_files.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<engine::Engine> MakeOpening(int64_t groups, int64_t prefix_cache_bytes = 0,
                                            const std::filesystem::path& dir = {}) {
  return MakeEngine({.num_slots = 3,
                     .max_queue = 200,
                     .step_tokens = 37,
                     .prefix_cache_bytes = prefix_cache_bytes,
                     .archive = {.bytes = groups * OpeningLayout().GroupBytes(), .dir = dir}},
                    OpeningConfig());
}

int64_t GroupsUsed(const engine::Engine& engine) {
  return engine.archives()->used_bytes() / OpeningLayout().GroupBytes();
}

absl::Status StatusOf(engine::Engine& engine, engine::GenerateRequest request) {
  const auto sink = std::make_shared<RecordingGenerateSink>();
  const auto id = engine.Submit(std::move(request), sink);
  if (!id.ok()) return id.status();
  EXPECT_TRUE(sink->Wait());
  return sink->status;
}

TEST(ArchiveAdmission, TakesExactlyWhatFits) {
  std::mt19937 random(1);
  for (int i = 0; i < 10; ++i) {
    engine::GenerateRequest request =
        Prompt(1 + static_cast<int>(random() % 200), 1 + static_cast<int64_t>(random() % 60), i);
    const int64_t end = std::ssize(request.prompt) + request.max_tokens - 1;
    const int64_t groups = OpeningLayout().Groups(end);
    if (groups < 2) continue;
    EXPECT_TRUE(StatusOf(*MakeOpening(groups), request).ok());
    const auto engine = MakeOpening(groups - 1);
    const absl::Status refusal = StatusOf(*engine, request);
    EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(
        std::string(refusal.message()),
        HasSubstr(Concat("archive is ", groups * OpeningLayout().GroupBytes(), " bytes more")));
    request.no_archive = true;
    EXPECT_TRUE(StatusOf(*engine, request).ok());
    EXPECT_EQ(GroupsUsed(*engine), 0);
  }
}

TEST(ArchiveAdmission, AScoreNeedsOneToo) {
  const auto engine = MakeOpening(5);
  for (const auto& [length, code] : {std::pair{8 * 7 - 1, absl::StatusCode::kOk},
                                     {8 * 7, absl::StatusCode::kResourceExhausted}}) {
    const auto sink = std::make_shared<RecordingScoreSink>();
    const auto id = engine->Submit(engine::ScoreRequest{Prompt(length, 1, 1).prompt}, sink);
    EXPECT_EQ(id.status().code(), code) << length;
    EXPECT_TRUE(!id.ok() || sink->Wait());
  }
  const auto sink = std::make_shared<RecordingScoreSink>();
  engine::ScoreRequest request{Prompt(500, 1, 1).prompt};
  request.no_archive = true;
  EXPECT_TRUE(engine->Submit(request, sink).ok());
  EXPECT_TRUE(sink->Wait());
}

TEST(ArchiveAdmission, WhatIsNotNeededIsFreeAtTheEnd) {
  const auto engine = MakeOpening(50);
  engine::GenerateRequest request = Prompt(100, 60, 1);
  request.keep_state = true;
  request.stop_token_ids = {Complete(*engine, request)->tokens.at(5)};
  const auto sink = Complete(*engine, request);
  ASSERT_LE(sink->tokens.size(), 6U);
  const engine::State& state = sink->finish.kept.state;
  EXPECT_EQ(std::ssize(state.archive), OpeningLayout().Groups(state.tokens()));
  EXPECT_EQ(sink->finish.usage.archived_tokens, 8 * OpeningLayout().Groups(state.tokens()));
  engine->Drain(absl::Seconds(5));
  EXPECT_EQ(GroupsUsed(*engine), std::ssize(state.archive));
  sink->finish.kept = {};
  sink->states.clear();
  EXPECT_EQ(GroupsUsed(*engine), 0);
}

TEST(ArchiveAdmission, CachedPromptsMakeRoom) {
  const auto engine = MakeOpening(40, int64_t{1} << 30);
  for (int i = 0; i < 30; ++i) {
    engine::GenerateRequest request = Prompt(150, 20, i);
    request.cache_scope = "";
    EXPECT_TRUE(StatusOf(*engine, request).ok()) << i;
    EXPECT_GT(GroupsUsed(*engine), 10) << "its prompt is kept";
  }
}

TEST(ArchiveAdmission, AFullDiskRefusesTheOneRequest) {
  const TempFolder folder;
  const auto engine = MakeOpening(100, 0, folder.path());
  EXPECT_TRUE(engine->SubmitMayWait());
  {
    const FullDisk full(20 * 4096);
    EXPECT_EQ(StatusOf(*engine, Prompt(400, 3, 1)).code(), absl::StatusCode::kResourceExhausted);
    EXPECT_TRUE(StatusOf(*engine, Prompt(30, 3, 1)).ok());
  }
  EXPECT_TRUE(StatusOf(*engine, Prompt(400, 3, 1)).ok());
}

// A hundred samples share what their prompt has archived.
TEST(ArchiveAdmission, MoreGroupsThanAListMayHaveAreRefused) {
  const auto engine = MakeOpening(100);
  engine::GenerateRequest request = Prompt(30, 3, 1);
  request.max_tokens = OpeningLayout().hierarchy.group_size * (engine::kMaxArchiveChunks + 1);
  const absl::Status refusal = StatusOf(*engine, request);
  EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refusal.message()),
              HasSubstr(Concat("archive is ", engine::kMaxArchiveChunks + 3,
                               " groups; allowed: up to ", engine::kMaxArchiveChunks)));
}

TEST(ArchiveAdmission, ADiskThatFailsFailsTheOneRequest) {
  const TempFolder folder;
  const auto engine = MakeOpening(300, int64_t{1} << 20, folder.path());
  // The first places of the file, which are taken again below, where that makes the file longer: so
  // what lies behind them stays lost.
  auto first_places = engine->archives()->Reserve("", 60);
  ASSERT_TRUE(first_places.ok()) << first_places.status();
  const auto expected = Complete(*engine, Prompt(400, 3, 1));
  engine::GenerateRequest request = Prompt(400, 3, 1);
  request.keep_state = true;
  request.cache_scope.reset();
  const auto first = Complete(*engine, request);
  first_places->reset();
  LoseFilesIn(folder.path());
  engine::GenerateRequest next = Prompt(40, 3, 2);
  next.state = first->finish.kept.state;
  const absl::Status failed = StatusOf(*engine, next);
  EXPECT_EQ(failed.code(), absl::StatusCode::kUnavailable) << failed;
  EXPECT_THAT(std::string(failed.message()), HasSubstr("the disk cannot read back"));
  // The same prompt finds nothing of the lost one in the prefix cache.
  EXPECT_EQ(Complete(*engine, Prompt(400, 3, 1))->tokens, expected->tokens);
}

TEST(SharedArchives, SamplesTakeTheirOwnTailsAlone) {
  const int64_t shared = OpeningLayout().Groups(2999);
  const int64_t tails = OpeningLayout().Groups(2999 + 10) - shared;
  const auto engine = MakeOpening(shared + 100 * tails);
  engine::GenerateRequest request = Prompt(3000, 10, 1);
  request.n = 100;
  EXPECT_TRUE(StatusOf(*engine, request).ok());
  request.n = 101;
  EXPECT_FALSE(StatusOf(*engine, request).ok());
}

TEST(SharedArchives, StatesOfASequenceShareItsChunks) {
  const auto engine = MakeOpening(2000);
  engine::GenerateRequest request = Prompt(1000, 10, 1);
  request.keep_state = true;
  request.marks = {100, 500, 1000};
  const auto sink = Complete(*engine, request);
  const engine::Archive& whole = sink->finish.kept.state.archive;
  ASSERT_EQ(sink->states.size(), 3U);
  for (const engine::State& state : sink->states) {
    ASSERT_EQ(std::ssize(state.archive), OpeningLayout().Groups(state.tokens()));
    EXPECT_TRUE(std::equal(state.archive.begin(), state.archive.end(), whole.begin()));
  }
  engine->Drain(absl::Seconds(5));
  EXPECT_EQ(GroupsUsed(*engine), std::ssize(whole));
}

TEST(WithoutArchive, AStateThatLostItsTokensIsServedInConstantMemory) {
  const auto engine = MakeOpening(100);
  engine::GenerateRequest request = Prompt(100, 10, 1);
  request.keep_state = true;
  request.no_archive = true;
  const auto first = Complete(*engine, request);
  EXPECT_EQ(first->finish.usage.archived_tokens, 0);
  EXPECT_TRUE(first->finish.kept.state.archive.empty());
  engine::GenerateRequest next = Prompt(50, 10, 2);
  next.keep_state = true;
  next.state = first->finish.kept.state;
  const auto second = Complete(*engine, next);
  ASSERT_TRUE(second->status.ok()) << second->status;
  EXPECT_EQ(second->finish.usage.archived_tokens, 0);
  next.no_archive = true;
  EXPECT_EQ(Complete(*engine, next)->logprobs, second->logprobs);
  EXPECT_EQ(GroupsUsed(*engine), 0);
}

TEST(WithoutArchive, TheAnswersAreThoseOfAModelThatOpensNothing) {
  const auto opening = MakeOpening(100);
  const auto closed = MakeEngine({.num_slots = 3, .archive = {.bytes = 0}}, OpeningConfig());
  EXPECT_EQ(closed->archives(), nullptr);
  const auto selecting = MakeEngine({.num_slots = 3}, SelectingConfig());
  engine::GenerateRequest request = Prompt(150, 30, 1);
  const auto opened = Complete(*opening, request);
  EXPECT_GT(opened->finish.usage.archived_tokens, 0);
  const auto expected = Complete(*selecting, request);
  EXPECT_NE(opened->logprobs, expected->logprobs) << "or the test shows nothing";
  EXPECT_EQ(Complete(*closed, request)->logprobs, expected->logprobs);
  request.no_archive = true;
  EXPECT_EQ(Complete(*opening, request)->logprobs, expected->logprobs);
}

TEST(WithoutArchive, CachedStatesOfTheTwoKindsNeverMeet) {
  const auto engine = MakeOpening(400, int64_t{1} << 30);
  engine::GenerateRequest request = Prompt(200, 10, 1);
  request.cache_scope = "";
  const auto opened = Complete(*engine, request);
  request.no_archive = true;
  const auto closed = Complete(*engine, request);
  EXPECT_EQ(closed->finish.usage.cached_tokens, 0);
  EXPECT_EQ(Complete(*engine, request)->logprobs, closed->logprobs);
  request.no_archive = false;
  const auto again = Complete(*engine, request);
  EXPECT_GT(again->finish.usage.cached_tokens, 0);
  EXPECT_EQ(again->logprobs, opened->logprobs);
}

}  // namespace
}  // namespace fmaserver::testing
