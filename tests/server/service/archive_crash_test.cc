// A server of a model that opens units is killed while it saves turns: the last one that it
// acknowledged is there, with every bit of its archive. A program by itself, because it forks.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "base/text.h"
#include "tests/server/service/service_fixture.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

constexpr int64_t kTokens = 12;  // that a turn generates
constexpr int kMostTurns = 400;

TestServiceOptions OptionsIn(const std::filesystem::path& dir) {
  return {.engine = {.num_slots = 4, .max_queue = 100}, .sessions = {.dir = dir}, .opens = true};
}

std::string LineOf(int turn) { return Concat("turn ", 1000 + turn, " asks"); }

/// How many turns the session has: all add as many tokens.
int Turns(const sessions::SessionInfo& info) {
  return static_cast<int>(info.tokens / (std::ssize(LineOf(0)) + kTokens));
}

std::vector<int32_t> Ask(TestService& service, int turn) {
  service::GenerateRequest request = TextRequest(LineOf(turn), kTokens);
  request.session_id = kStory.id;
  GenerateCall call(service, std::move(request));
  Require(call.Run());
  std::vector<int32_t> tokens;
  for (const service::GenerateEvent& event : call.door().events()) {
    if (const auto* delta = std::get_if<engine::Delta>(&event)) {
      tokens.insert(tokens.end(), delta->tokens.begin(), delta->tokens.end());
    }
  }
  return tokens;
}

/// Of the archive that the next turn begins with.
std::string ArchiveDigest(TestService& service) {
  const auto turn = service.sessions().BeginTurn(kStory);
  Require(turn.status());
  Sha256 hash;
  for (const engine::ArchiveChunkPtr& chunk : (*turn)->state().archive) {
    const auto bytes = chunk->Save();
    Require(bytes.status());
    hash.Update((*bytes)->bytes());
  }
  return hash.Digest();
}

/// What a server says and keeps that nobody kills.
struct Expected {
  std::vector<std::vector<int32_t>> answers;  // of each turn
  std::vector<std::string> archives = {""};   // after so many turns
};

Expected Undisturbed() {
  TestService service(OptionsIn({}));
  Require(service.sessions().Create(kStory, {}).status());
  Expected expected;
  for (int turn = 0; turn < kMostTurns; ++turn) {
    expected.answers.push_back(Ask(service, turn));
    expected.archives.push_back(ArchiveDigest(service));
  }
  return expected;
}

/// Adds turns for ever, and reports how many there are after each.
[[noreturn]] void Serve(const std::filesystem::path& dir, int report) {
  TestService service(OptionsIn(dir));
  for (;;) {
    const auto info = service.sessions().Get(kStory);
    Require(info.status());
    const int turns = Turns(*info);
    if (turns == kMostTurns) pause();
    // Links and removals are interrupted too.
    const auto forks = service.sessions().Fork(kStory, 2);
    Require(forks.status());
    Require(service.sessions().Delete({kDefaultTenant, forks->front().id}));
    (void)Ask(service, turns);
    const int done = turns + 1;
    if (write(report, &done, sizeof(done)) != sizeof(done)) _exit(2);
  }
}

/// Kills a server some time after its first turn; returns how many turns it acknowledged.
int ServeAndKill(const std::filesystem::path& dir, int64_t microseconds) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    Serve(dir, ends[1]);
  }
  close(ends[1]);
  int turns = 0;
  EXPECT_EQ(read(ends[0], &turns, sizeof(turns)), sizeof(turns)) << "it ended by itself";
  usleep(static_cast<useconds_t>(microseconds));
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the server failed by itself: " << WEXITSTATUS(status);
  for (int done = 0; read(ends[0], &done, sizeof(done)) == sizeof(done);) turns = done;
  close(ends[0]);
  return turns;
}

TEST(ArchiveCrash, TheLastAcknowledgedTurnIsThereBitForBit) {
  const Expected expected = Undisturbed();
  const TempFolder folder;
  {
    TestService service(OptionsIn(folder.path()));
    Require(service.sessions().Create(kStory, {}).status());
  }
  std::mt19937_64 random(5);
  for (int round = 0; round < 25 && !::testing::Test::HasFailure(); ++round) {
    SCOPED_TRACE(round);
    const int acknowledged =
        ServeAndKill(folder.path(), std::uniform_int_distribution<int64_t>(0, 40'000)(random));
    TestService service(OptionsIn(folder.path()));
    const auto info = service.sessions().Get(kStory);
    ASSERT_TRUE(info.ok()) << info.status();
    const int turns = Turns(*info);
    EXPECT_GE(turns, acknowledged);
    if (turns == kMostTurns) break;
    EXPECT_EQ(ArchiveDigest(service), expected.archives[turns]);
    EXPECT_EQ(Ask(service, turns), expected.answers[turns]);
    // What was forked from it is whole as well.
    const auto page = service.sessions().List(kDefaultTenant, "", 10'000);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const sessions::SessionInfo& fork : page->sessions) {
      if (fork.id == kStory.id) continue;
      EXPECT_TRUE(service.sessions().BeginTurn({kDefaultTenant, fork.id}).ok());
      Require(service.sessions().Delete({kDefaultTenant, fork.id}));
    }
  }
}

}  // namespace
}  // namespace fmaserver::testing
