// Sessions of a model that opens units: their archives are shared, saved once, and read back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/text.h"
#include "tests/server/service/service_fixture.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

using ::testing::HasSubstr;

const sessions::SessionName kSecond{.tenant = kDefaultTenant, .id = "second"};

int64_t GroupBytes() {
  const model::ModelConfig config = OpeningModelConfig();
  return kernels::ArchiveLayout(config.attention, config.num_layers, kernels::CacheType::kF32)
      .GroupBytes();
}

TestServiceOptions Options(const std::filesystem::path& dir, int64_t groups = 100'000) {
  return {.engine = {.num_slots = 4, .max_queue = 100, .archive = {.bytes = groups * GroupBytes()}},
          .sessions = {.dir = dir},
          .opens = true};
}

int64_t GroupsUsed(TestService& service) {
  service.engine().Drain(absl::ZeroDuration());
  return service.engine().archives()->used_bytes() / GroupBytes();
}

/// A request that has been answered holds its archive until the engine's step is over.
int64_t BytesUsedAtRest(TestService& service) {
  EXPECT_TRUE(Eventually([&] { return service.engine().Load().running == 0; }));
  return service.engine().archives()->used_bytes();
}

struct Answer {
  absl::Status status = {};
  std::vector<int32_t> tokens = {};
  int64_t archived_tokens = 0;
};

Answer Ask(TestService& service, service::GenerateRequest request) {
  GenerateCall call(service, std::move(request));
  Answer answer{.status = call.Run()};
  for (const service::GenerateEvent& event : call.door().events()) {
    if (const auto* delta = std::get_if<engine::Delta>(&event)) {
      answer.tokens.insert(answer.tokens.end(), delta->tokens.begin(), delta->tokens.end());
    }
  }
  if (call.finished() != nullptr)
    answer.archived_tokens = call.finished()->end.usage.archived_tokens;
  return answer;
}

Answer Ask(TestService& service, const sessions::SessionName& session, const std::string& text,
           int64_t max_tokens, bool no_archive = false) {
  service::GenerateRequest request = TextRequest(text, max_tokens);
  request.session_id = session.id;
  request.options.no_archive = no_archive;
  return Ask(service, std::move(request));
}

std::string TurnText(int turn) { return Concat("turn ", turn, " asks about page ", turn * 7); }

/// What a session in memory answers, turn by turn.
std::vector<std::vector<int32_t>> Expected(int turns) {
  TestService service(Options({}));
  Require(service.sessions().Create(kStory, {}).status());
  std::vector<std::vector<int32_t>> answers;
  for (int turn = 0; turn < turns; ++turn) {
    answers.push_back(Ask(service, kStory, TurnText(turn), 20).tokens);
  }
  return answers;
}

std::string BlobOf(TestService& service, const sessions::SessionName& name) {
  auto blob = service.sessions().Export(name, /*head_only=*/false);
  Require(blob.status());
  std::string bytes;
  for (;;) {
    const auto piece = (*blob)->Next(1000);
    Require(piece.status());
    if (piece->empty()) return bytes;
    bytes += *piece;
  }
}

absl::Status Import(TestService& service, const sessions::SessionName& name,
                    const std::string& blob) {
  const auto import = service.sessions().Import(name, {});
  Require(import.status());
  if (absl::Status status = (*import)->Write(blob); !status.ok()) return status;
  return (*import)->Finish().status();
}

TEST(ArchiveTurn, GoesOnAfterLeavingMemoryAndAfterARestart) {
  constexpr int kTurns = 6;
  const auto expected = Expected(kTurns);
  const TempFolder folder;
  for (int turn = 0; turn < kTurns; ++turn) {
    TestService service(Options(folder.path()));
    if (turn == 0) Require(service.sessions().Create(kStory, {}).status());
    const Answer answer = Ask(service, kStory, TurnText(turn), 20);
    ASSERT_TRUE(answer.status.ok()) << answer.status;
    EXPECT_EQ(answer.tokens, expected[turn]) << turn;
    if (turn % 2 == 0) continue;
    service.sessions().DropArchives("", [] { return false; });
    ++turn;
    if (turn == kTurns) break;
    EXPECT_EQ(Ask(service, kStory, TurnText(turn), 20).tokens, expected[turn]) << turn;
  }
}

/// The bytes of the volumes below `folder`, each counted once.
int64_t VolumeBytes(const std::filesystem::path& folder) {
  std::map<ino_t, int64_t> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().extension() != ".chunks") continue;
    struct stat status {};
    EXPECT_EQ(stat(entry.path().c_str(), &status), 0);
    files[status.st_ino] = status.st_size;
  }
  int64_t bytes = 0;
  for (const auto& [inode, size] : files) bytes += size;
  return bytes;
}

// However long the session has become.
TEST(ArchiveTurn, ATurnWritesItsOwnChunksAlone) {
  const TempFolder folder;
  TestService service(Options(folder.path()));
  Require(service.sessions().Create(kStory, {}).status());
  const int64_t first = Ask(service, kStory, std::string(3000, 'x'), 10).archived_tokens / 4;
  EXPECT_GT(first, 700);
  const int64_t chunk = VolumeBytes(folder.path()) / first;
  EXPECT_GT(chunk, GroupBytes());
  EXPECT_EQ(VolumeBytes(folder.path()), first * chunk);
  for (int turn = 0; turn < 12; ++turn) {
    const Answer answer = Ask(service, kStory, "and then?", 10);
    ASSERT_TRUE(answer.status.ok()) << answer.status;
    ASSERT_EQ(VolumeBytes(folder.path()), answer.archived_tokens / 4 * chunk);
  }
}

TEST(ArchiveTurn, AHundredForksTakeNoArchiveOfTheirOwn) {
  const TempFolder folder;
  TestService service(Options(folder.path()));
  Require(service.sessions().Create(kStory, {}).status());
  const int64_t archived = Ask(service, kStory, std::string(2000, 'x'), 20).archived_tokens;
  EXPECT_GT(archived, 1990);
  const int64_t before = BytesUsedAtRest(service);
  const int64_t on_disk = VolumeBytes(folder.path());
  const auto forks = service.sessions().Fork(kStory, 100);
  ASSERT_TRUE(forks.ok()) << forks.status();
  EXPECT_EQ(BytesUsedAtRest(service), before);
  EXPECT_EQ(VolumeBytes(folder.path()), on_disk);
  // The first two go on, on what they share, and each of the three adds its own tail alone.
  const Answer next = Ask(service, kStory, "and?", 9);
  for (int i = 0; i < 2; ++i) {
    const sessions::SessionName fork{kDefaultTenant, (*forks)[i].id};
    EXPECT_EQ(Ask(service, fork, "and?", 9).tokens, next.tokens);
  }
  const int64_t tail = (next.archived_tokens - archived) / 4;
  EXPECT_GT(tail, 0);
  EXPECT_EQ(GroupsUsed(service), before / GroupBytes() + 3 * tail);
}

TEST(ArchiveTurn, ABlobBringsTheArchiveToAnotherServer) {
  TestService service(Options({}));
  Require(service.sessions().Create(kStory, {}).status());
  ASSERT_TRUE(Ask(service, kStory, TurnText(1), 50).status.ok());
  ASSERT_TRUE(Ask(service, kStory, TurnText(2), 50).status.ok());
  const std::string blob = BlobOf(service, kStory);
  TestService other(Options({}));
  const absl::Status imported = Import(other, kSecond, blob);
  ASSERT_TRUE(imported.ok()) << imported;
  const Answer expected = Ask(service, kStory, TurnText(3), 50);
  const Answer answer = Ask(other, kSecond, TurnText(3), 50);
  EXPECT_EQ(answer.tokens, expected.tokens);
  EXPECT_EQ(answer.archived_tokens, expected.archived_tokens);
}

TEST(ArchiveTurn, AnArchiveThatCannotBeKeptIsRefusedByName) {
  TestService service(Options({}));
  Require(service.sessions().Create(kStory, {}).status());
  ASSERT_TRUE(Ask(service, kStory, TurnText(1), 50).status.ok());
  const std::string blob = BlobOf(service, kStory);
  TestServiceOptions none = Options({});
  none.engine.archive.bytes = 0;
  TestService without(none);
  const absl::Status refusal = Import(without, kSecond, blob);
  EXPECT_EQ(refusal.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refusal.message()),
              HasSubstr("archive is present; allowed: none: this server keeps no archives"));
  TestService small(Options({}, 3));
  const absl::Status full = Import(small, kSecond, blob);
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), HasSubstr("archive is "));
  EXPECT_EQ(GroupsUsed(small), 0);
}

TEST(ArchiveTurn, ARewindDropsChunks) {
  TestServiceOptions options = Options({});
  options.sessions.rewind_points = 3;
  TestService service(options);
  Require(service.sessions().Create(kStory, {}).status());
  const Answer first = Ask(service, kStory, TurnText(1), 100);
  const int64_t after_first = BytesUsedAtRest(service);
  const Answer second = Ask(service, kStory, TurnText(2), 100);
  Require(service.sessions().Rewind(kStory, std::ssize(TurnText(1)) + 100).status());
  EXPECT_EQ(BytesUsedAtRest(service), after_first);
  EXPECT_EQ(Ask(service, kStory, TurnText(2), 100).tokens, second.tokens);
  Require(service.sessions().Delete(kStory));
  EXPECT_EQ(GroupsUsed(service), 0);
}

// Each needs more than half of the budget.
TEST(ArchiveTurn, SessionsOnTheShelfMakeRoomForOthers) {
  const TempFolder folder;
  TestService service(Options(folder.path(), 60));
  TestService roomy(Options({}));
  for (const auto& name : {kStory, kSecond}) {
    Require(service.sessions().Create(name, {}).status());
    Require(roomy.sessions().Create(name, {}).status());
  }
  for (int turn = 0; turn < 5; ++turn) {
    for (const auto& name : {kStory, kSecond}) {
      const std::string text = TurnText(turn) + name.id;
      const Answer answer = Ask(service, name, text, 10);
      ASSERT_TRUE(answer.status.ok()) << answer.status;
      EXPECT_EQ(answer.tokens, Ask(roomy, name, text, 10).tokens) << turn;
    }
  }
}

TEST(ArchiveTurn, SessionsInMemoryAloneStayAndTheRequestIsRefused) {
  TestService service(Options({}, 60));
  for (const auto& name : {kStory, kSecond}) Require(service.sessions().Create(name, {}).status());
  ASSERT_TRUE(Ask(service, kStory, std::string(150, 'x'), 10).status.ok());
  const Answer refused = Ask(service, kSecond, std::string(150, 'y'), 10);
  EXPECT_EQ(refused.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status.message()), HasSubstr("no_archive needs none"));
  EXPECT_EQ(service.sessions().Get(kSecond)->tokens, 0);
  EXPECT_TRUE(Ask(service, kSecond, std::string(150, 'y'), 10, /*no_archive=*/true).status.ok());
  EXPECT_TRUE(Ask(service, kStory, "and?", 10).status.ok());
}

TEST(ArchiveTurn, ATurnWithoutOneEndsItUntilARewind) {
  const TempFolder folder;
  TestService service(Options(folder.path()));
  Require(service.sessions().Create(kStory, {}).status());
  const Answer with = Ask(service, kStory, TurnText(1), 50);
  EXPECT_GT(with.archived_tokens, 0);
  EXPECT_EQ(Ask(service, kStory, TurnText(2), 50, /*no_archive=*/true).archived_tokens, 0);
  EXPECT_EQ(Ask(service, kStory, TurnText(3), 50).archived_tokens, 0) << "lost for good";
  Require(service.sessions().Rewind(kStory, std::ssize(TurnText(1)) + 50).status());
  EXPECT_GT(Ask(service, kStory, TurnText(2), 50).archived_tokens, with.archived_tokens);
}

TEST(ArchiveTurn, AServerWithoutArchivesLeavesThoseOnTheShelfAlone) {
  const auto expected = Expected(2);
  const TempFolder folder;
  {
    TestService service(Options(folder.path()));
    Require(service.sessions().Create(kStory, {}).status());
    ASSERT_EQ(Ask(service, kStory, TurnText(0), 20).tokens, expected[0]);
  }
  TestServiceOptions none = Options(folder.path());
  none.engine.archive.bytes = 0;
  {
    TestService without(none);
    const Answer answer = Ask(without, kStory, TurnText(1), 20);
    EXPECT_TRUE(answer.status.ok()) << answer.status;
    EXPECT_EQ(answer.archived_tokens, 0);
  }
  TestService service(Options(folder.path()));
  Require(service.sessions().Rewind(kStory, std::ssize(TurnText(0)) + 20).status());
  EXPECT_EQ(Ask(service, kStory, TurnText(1), 20).tokens, expected[1]);
}

TEST(ArchiveTurn, AnInterruptedTurnGoesOnWithItsArchive) {
  const std::string text = TurnText(1);
  constexpr int64_t kTokens = 3000;
  TestService whole(Options({}));
  Require(whole.sessions().Create(kStory, {}).status());
  const std::vector<int32_t> expected = Ask(whole, kStory, text, kTokens).tokens;
  const TempFolder folder;
  service::GenerateRequest resume;
  std::vector<int32_t> tokens;
  {
    TestService service(Options(folder.path()));
    Require(service.sessions().Create(kStory, {}).status());
    service::GenerateRequest request = TextRequest(text, kTokens);
    request.session_id = kStory.id;
    GenerateCall call(service, request);
    std::jthread drain([&service] {
      EXPECT_TRUE(Eventually([&] { return service.engine().Load().running > 0; }));
      service.engine().Drain(absl::Milliseconds(20));
    });
    EXPECT_EQ(call.Run().code(), absl::StatusCode::kUnavailable);
    resume.resume_token = call.resume_token();
    for (const service::GenerateEvent& event : call.door().events()) {
      if (const auto* delta = std::get_if<engine::Delta>(&event)) {
        tokens.insert(tokens.end(), delta->tokens.begin(), delta->tokens.end());
      }
    }
  }
  ASSERT_FALSE(resume.resume_token.empty());
  TestService service(Options(folder.path()));
  const Answer rest = Ask(service, resume);
  ASSERT_TRUE(rest.status.ok()) << rest.status;
  tokens.insert(tokens.end(), rest.tokens.begin(), rest.tokens.end());
  EXPECT_EQ(tokens, expected);
}

}  // namespace
}  // namespace fmaserver::testing
