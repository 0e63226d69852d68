// A server that is killed at any moment loses nothing that it acknowledged.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <random>

#include "gtest/gtest.h"
#include "tests/server/sessions/fake_states.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::sessions {
namespace {

using testing::OpenStore;
using testing::TempFolder;
using testing::Text;

constexpr int kSessions = 3;

SessionOptions OptionsFor(const TempFolder& folder) {
  return {.dir = folder.path() / "sessions", .rewind_points = 3, .log_tokens = 64};
}

SessionName NameOf(int session) { return {kDefaultTenant, std::to_string(session)}; }

// The text of a session is a function of its length, so that any length can be checked.
Text TextOf(int session, int64_t tokens) { return testing::NextTokens({}, tokens, session); }

struct Acknowledged {
  int session;
  int64_t tokens;
};

// Adds to the sessions for ever, and reports each turn when it is over.
[[noreturn]] void Serve(const TempFolder& folder, int report, uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto store = OpenStore(OptionsFor(folder));
  for (;;) {
    const int session = static_cast<int>(random() % kSessions);
    const SessionName name = NameOf(session);
    const auto found = store->Get(name);
    if (!found.ok()) {
      (void)store->Create(name, {});
      continue;
    }
    // A fork that is removed again, so that links and removals are interrupted too.
    if (random() % 4 == 0) {
      const auto child = store->Fork(name, 2);
      if (child.ok()) (void)store->Delete({name.tenant, child->front().id});
    }
    const Text whole = TextOf(session, found->tokens + 1 + static_cast<int64_t>(random() % 20));
    Text text(whole.begin(), whole.begin() + found->tokens);
    const Text appended(whole.begin() + found->tokens, whole.end());
    const auto info = testing::RunArchivedTurn(*store, name, text, appended);
    if (!info.ok() || !info->durable || ::testing::Test::HasFailure()) _exit(1);
    const Acknowledged done{session, info->tokens};
    if (write(report, &done, sizeof(done)) != sizeof(done)) _exit(2);
  }
}

// Runs a server for `microseconds`; returns the last turn that it acknowledged for each session.
std::array<int64_t, kSessions> ServeAndKill(const TempFolder& folder, uint64_t seed,
                                            int64_t microseconds) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    Serve(folder, ends[1], seed);
  }
  close(ends[1]);
  usleep(static_cast<useconds_t>(microseconds));
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the server failed by itself: " << WEXITSTATUS(status);
  std::array<int64_t, kSessions> tokens{};
  Acknowledged done{};
  while (read(ends[0], &done, sizeof(done)) == sizeof(done)) tokens[done.session] = done.tokens;
  close(ends[0]);
  return tokens;
}

TEST(CrashTest, WhatWasAcknowledgedIsThere) {
  const TempFolder folder;
  std::mt19937_64 random(7);
  std::array<int64_t, kSessions> least{};
  for (int round = 0; round < 40 && !HasFailure(); ++round) {
    SCOPED_TRACE(round);
    const auto tokens =
        ServeAndKill(folder, round, std::uniform_int_distribution<int64_t>(0, 150'000)(random));
    const auto store = OpenStore(OptionsFor(folder));
    int64_t bytes = 0;
    const auto page = store->List(kDefaultTenant, "", 100'000);
    ASSERT_TRUE(page.ok());
    for (const SessionInfo& info : page->sessions) bytes += info.bytes;
    // Nothing half done may be left either.
    const testing::PartFiles parts = testing::FindParts(folder.path());
    EXPECT_EQ(parts.bytes, bytes);
    EXPECT_EQ(store->Stats().disk_bytes, parts.unique_bytes);
    EXPECT_EQ(testing::CountFiles(folder.path(), ""), parts.files + std::ssize(page->sessions) + 1);
    for (int session = 0; session < kSessions; ++session) {
      least[session] = std::max(least[session], tokens[session]);
      auto turn = store->BeginTurn(NameOf(session));
      if (least[session] == 0 && !turn.ok()) continue;
      ASSERT_TRUE(turn.ok()) << turn.status();
      EXPECT_GE((*turn)->tokens(), least[session]);
      testing::ExpectTurnOf(**turn, TextOf(session, (*turn)->tokens()), /*archived=*/true);
    }
  }
  EXPECT_GT(least[0], 0);
}

}  // namespace
}  // namespace fmaserver::sessions
