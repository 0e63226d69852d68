// What the store promises call by call: turns, rewinding, lifetimes, budgets, threads.
#include "server/sessions/session_store.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <random>
#include <thread>

#include "base/id.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/sessions/shelf/directory/directory_shelf.h"
#include "tests/server/sessions/fake_archives.h"
#include "tests/server/sessions/fake_states.h"
#include "tests/server/sessions/gated_shelf.h"
#include "tests/server/sessions/test_clock.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::sessions {
namespace {

using ::testing::ElementsAre;
using testing::Gate;
using testing::GatedShelf;
using ::testing::HasSubstr;
using testing::kTalk;
using testing::NextTokens;
using testing::OpenStore;
using testing::RunTurn;
using testing::StateAfter;
using testing::TempFolder;
using testing::TestClock;
using testing::Text;

void Create(SessionStore& store, const SessionName& name = kTalk) {
  const auto info = store.Create(name, {});
  ASSERT_TRUE(info.ok()) << info.status();
}

// Runs turns with these numbers of tokens.
Text Talk(SessionStore& store, const std::vector<int64_t>& counts,
          const SessionName& name = kTalk) {
  Text text;
  Create(store, name);
  for (const int64_t count : counts) {
    EXPECT_TRUE(RunTurn(store, name, text, NextTokens(text, count, 1)).ok());
  }
  return text;
}

// A store on a directory in `folder`, with a gate in between.
std::unique_ptr<SessionStore> OpenGated(const TempFolder& folder, Gate& gate,
                                        SessionOptions options = {}) {
  options.sweep_seconds = 0;
  auto shelf = DirectoryShelf::Open(folder.path() / "s", testing::FakeModel());
  EXPECT_TRUE(shelf.ok()) << shelf.status();
  auto store = SessionStore::Open(testing::FakeModel(), options,
                                  std::make_unique<GatedShelf>(*std::move(shelf), gate), nullptr);
  EXPECT_TRUE(store.ok()) << store.status();
  return *std::move(store);
}

TEST(StoreTest, NamesAreChecked) {
  const auto store = OpenStore({});
  for (const std::string& id : {std::string("a/b"), std::string("."), std::string(65, 'a'),
                                std::string("\0", 1), std::string("ü"), std::string("a.b")}) {
    EXPECT_EQ(store->Create({kDefaultTenant, id}, {}).status().code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(store->Get({kDefaultTenant, id}).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(store->Get({id, "fine"}).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(store->Create({kDefaultTenant, std::string(64, '-')}, {}).ok());
  const auto random = store->Create({kDefaultTenant, ""}, {});
  ASSERT_TRUE(random.ok());
  EXPECT_EQ(random->id.size(), 22);
  EXPECT_EQ(store->Create({kDefaultTenant, random->id}, {}).status().code(),
            absl::StatusCode::kAlreadyExists);
}

TEST(StoreTest, LifetimesAreChecked) {
  const auto store = OpenStore({});
  for (const double ttl : {-1.0, 1.1e9, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_EQ(store->Create(kTalk, {.ttl_seconds = ttl}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  Create(*store);
  EXPECT_EQ(store->Update(kTalk, {.ttl_seconds = -1}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store->Get(kTalk)->ttl_seconds, 86'400);
  EXPECT_EQ(store->Update(kTalk, {.ttl_seconds = 5})->ttl_seconds, 5);
  EXPECT_TRUE(store->Update(kTalk, {.pinned = true})->pinned);
  EXPECT_EQ(store->Get(kTalk)->ttl_seconds, 5);
}

TEST(StoreTest, ASecondTurnIsAborted) {
  const auto store = OpenStore({});
  Text text = Talk(*store, {5});
  auto turn = store->BeginTurn(kTalk);
  ASSERT_TRUE(turn.ok());
  EXPECT_EQ(store->Get(kTalk)->place, SessionPlace::kActive);
  EXPECT_EQ(store->BeginTurn(kTalk).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(store->Rewind(kTalk, 1).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(store->Update(kTalk, {}).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(store->Delete(kTalk).code(), absl::StatusCode::kAborted);
  const auto child = store->Fork(kTalk, 1);
  ASSERT_TRUE(child.ok()) << child.status();
  turn->reset();
  EXPECT_EQ(store->Get(kTalk)->place, SessionPlace::kInMemory);
  EXPECT_TRUE(RunTurn(*store, kTalk, text, {1, 2}).ok());
  EXPECT_EQ(store->Get({kDefaultTenant, child->front().id})->tokens, 5);
}

TEST(StoreTest, AStateThatDoesNotFitIsRefused) {
  const auto store = OpenStore({});
  const Text text = Talk(*store, {5});
  auto turn = store->BeginTurn(kTalk);
  EXPECT_EQ((*turn)
                ->Commit({1}, engine::SnapshotPtr(std::make_shared<engine::Snapshot>(5, 10)))
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  turn = store->BeginTurn(kTalk);
  EXPECT_EQ((*turn)
                ->Commit({1}, engine::SnapshotPtr(
                                  std::make_shared<engine::Snapshot>(7, testing::kSlotBytes)))
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  turn = store->BeginTurn(kTalk);
  testing::ExpectTurnOf(**turn, text);
}

TEST(StoreTest, HistoryReachesBackOverTheLog) {
  const auto store = OpenStore({});
  Text text = Talk(*store, {3'000, 3'000});
  auto turn = store->BeginTurn(kTalk);
  EXPECT_EQ((*turn)->pending().size(), 1);
  EXPECT_EQ((*turn)->history().size(), Turn::kHistoryTokens - 1);
  testing::ExpectTurnOf(**turn, text);
}

TEST(StoreTest, ATurnWithoutTokensOfItsOwnReadsOneAgain) {
  const auto store = OpenStore({});
  Create(*store);
  EXPECT_EQ(store->BeginTurn(kTalk, 1).status().code(), absl::StatusCode::kFailedPrecondition);
  Text text = NextTokens({}, 8, 1);
  {
    auto turn = store->BeginTurn(kTalk);
    (*turn)->AddPoint(StateAfter(text, 3));
    ASSERT_TRUE((*turn)->Commit(text, StateAfter(text, 8)).ok());
  }
  EXPECT_TRUE((*store->BeginTurn(kTalk))->pending().empty());
  auto turn = store->BeginTurn(kTalk, 1);
  ASSERT_TRUE(turn.ok()) << turn.status();
  EXPECT_EQ((*turn)->state().slot->tokens(), 3);
  testing::ExpectTurnOf(**turn, text);
}

TEST(StoreTest, RewindLandsWhereTheLogReaches) {
  const auto store = OpenStore({.log_tokens = 10});
  Text text = Talk(*store, {20, 4, 4});  // states after 19, 23, 27; log from 18 on
  EXPECT_THAT(store->Get(kTalk)->rewind_points, ElementsAre(19, 23, 27));
  EXPECT_EQ(store->Get(kTalk)->log_begin, 18);
  for (const int64_t tokens : {28, 27, 26, 23, 22, 19}) {
    const auto info = store->Rewind(kTalk, tokens);
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->tokens, tokens);
    text.resize(tokens);
    testing::ExpectTurnOf(**store->BeginTurn(kTalk), text);
  }
  // There is no state before 19, so token 18 of the log is of no use.
  EXPECT_EQ(store->Rewind(kTalk, 18)->tokens, 0);
  EXPECT_THAT(store->Get(kTalk)->rewind_points, ElementsAre());
}

TEST(StoreTest, AnInterruptedTurnIsDroppedByAnother) {
  const auto store = OpenStore({});
  Text text = Talk(*store, {5});
  auto turn = store->BeginTurn(kTalk);
  Text more = text;
  more.push_back(9);
  const auto token = (*turn)->Interrupt({9}, StateAfter(more, 5), {"r", 1, 1});
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(store->Get(kTalk)->resume_token, *token);
  // A turn that fails leaves it.
  turn = store->BeginTurn(kTalk);
  turn->reset();
  EXPECT_EQ(store->Get(kTalk)->resume_token, *token);
  ASSERT_TRUE(RunTurn(*store, kTalk, more, {1, 2}).ok());
  EXPECT_EQ(store->Get(kTalk)->resume_token, "");
  EXPECT_EQ(store->BeginResume(kDefaultTenant, *token).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(StoreTest, ForksHoldNoInterruptedTurnAndAreNotPinned) {
  const auto store = OpenStore({});
  Text text = Talk(*store, {5});
  ASSERT_TRUE(store->Update(kTalk, {.ttl_seconds = 77, .pinned = true}).ok());
  auto turn = store->BeginTurn(kTalk);
  ASSERT_TRUE((*turn)->Interrupt({}, {}, {"r", 1, 0}).ok());
  const auto children = store->Fork(kTalk, 1000);
  ASSERT_TRUE(children.ok());
  EXPECT_EQ(children->size(), 1000);
  for (const SessionInfo& child : *children) {
    EXPECT_FALSE(child.pinned);
    EXPECT_EQ(child.ttl_seconds, 77);
    EXPECT_EQ(child.resume_token, "");
  }
  // A thousand and one sessions, and one state.
  EXPECT_LT(store->Stats().memory_bytes, 2 * testing::kSlotBytes);
  for (const int64_t count : {0, 1001}) {
    EXPECT_EQ(store->Fork(kTalk, count).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(StoreTest, SessionsExpireUnlessPinned) {
  const TempFolder folder;
  TestClock clock;
  const auto store = OpenStore({.dir = folder.path() / "s"}, clock.now());
  const SessionName pinned{kDefaultTenant, "pinned"};
  const SessionName eternal{kDefaultTenant, "eternal"};
  Talk(*store, {5});
  ASSERT_TRUE(store->Create(pinned, {.ttl_seconds = 10, .pinned = true}).ok());
  ASSERT_TRUE(store->Create(eternal, {.ttl_seconds = 0}).ok());
  ASSERT_TRUE(store->Update(kTalk, {.ttl_seconds = 10}).ok());
  auto turn = store->BeginTurn(kTalk);
  clock.Advance(11);
  store->Sweep();
  EXPECT_TRUE(store->Get(kTalk).ok()) << "a live turn keeps it";
  turn->reset();
  clock.Advance(9);
  EXPECT_EQ(store->Get(kTalk)->idle_seconds, 9);
  clock.Advance(2);
  EXPECT_EQ(store->CountOf(kDefaultTenant), 3);
  store->Sweep("another");
  EXPECT_EQ(store->CountOf(kDefaultTenant), 3);
  store->Sweep(kDefaultTenant);
  EXPECT_EQ(store->CountOf(kDefaultTenant), 2);
  EXPECT_EQ(store->Get(kTalk).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(testing::CountFiles(folder.path(), ".session"), 2);
  EXPECT_EQ(testing::CountFiles(folder.path(), ".state"), 0);
  EXPECT_TRUE(store->Get(pinned).ok());
  EXPECT_TRUE(store->Get(eternal).ok());
}

TEST(StoreTest, TheSweeperFindsExpiredSessionsByItself) {
  const TempFolder folder;
  std::atomic<int64_t> seconds = 0;
  auto store = SessionStore::Open(
      testing::FakeModel(), {.dir = folder.path() / "s", .sweep_seconds = 0.001}, nullptr,
      [&seconds] { return Clock::time_point(std::chrono::seconds(seconds)); });
  ASSERT_TRUE(store.ok());
  ASSERT_TRUE((*store)->Create(kTalk, {.ttl_seconds = 10}).ok());
  seconds = 11;
  while ((*store)->Stats().in_memory > 0) std::this_thread::yield();
  EXPECT_EQ(testing::CountFiles(folder.path(), ".session"), 0);
}

// While a turn is live, forks and exports see what the session held before, whenever the turn ends.
TEST(StoreTest, ForksAndExportsRaceWithTheEndOfATurn) {
  const TempFolder folder;
  const auto store = OpenStore({.dir = folder.path() / "s", .memory_bytes = 0});
  const Text text = Talk(*store, {9});
  std::atomic<bool> stop = false;
  std::thread turns([&] {
    while (!stop) (void)store->BeginTurn(kTalk);
  });
  for (int i = 0; i < 30; ++i) {
    const auto children = store->Fork(kTalk, 20);
    ASSERT_TRUE(children.ok()) << children.status();
    for (const SessionInfo& child : *children) {
      EXPECT_TRUE(store->Delete({kDefaultTenant, child.id}).ok());
    }
    const auto blob = store->Export(kTalk, false);
    ASSERT_TRUE(blob.ok()) << blob.status();
    EXPECT_TRUE(testing::ReadAll(**blob, 1000).ok());
  }
  stop = true;
  turns.join();
}

TEST(StoreTest, AForkThatIsSlowOutlivesTheTurnBesideIt) {
  const TempFolder folder;
  Gate gate;
  const auto store = OpenGated(folder, gate, {.memory_bytes = 0});
  const Text text = Talk(*store, {9});
  auto turn = store->BeginTurn(kTalk);
  ASSERT_TRUE(turn.ok());
  gate.Close();
  auto children = std::async(std::launch::async, [&] { return store->Fork(kTalk, 1); });
  gate.AwaitWaiting(1);
  turn->reset();  // memory is short, and yet the parent stays in it for the fork
  gate.Open();
  const auto infos = children.get();
  ASSERT_TRUE(infos.ok()) << infos.status();
  testing::ExpectTurnOf(**store->BeginTurn({kDefaultTenant, infos->front().id}), text);
}

TEST(StoreTest, AShelfThatHangsStopsNeitherTurnsNorStatistics) {
  const TempFolder folder;
  Gate gate;
  const auto store = OpenGated(folder, gate);
  const SessionName other{kDefaultTenant, "other"};
  Talk(*store, {9});
  Talk(*store, {4}, other);
  auto live = store->BeginTurn(kTalk);
  ASSERT_TRUE(live.ok());
  gate.Close();
  auto stuck = std::async(std::launch::async, [&] { return store->Get(other); });
  auto also = std::async(std::launch::async, [&] { return store->Create({"t", "new"}, {}); });
  gate.AwaitWaiting(2);
  // What the engine's thread and the HTTP port do meanwhile.
  auto rest = std::async(std::launch::async, [&] {
    EXPECT_EQ(store->Stats().active, 1);
    EXPECT_EQ(store->CountOf(kDefaultTenant), 2);
    EXPECT_EQ(store->Get(kTalk)->place, SessionPlace::kActive);
    live->reset();
    EXPECT_EQ(store->Stats().active, 0);
  });
  EXPECT_EQ(rest.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  gate.Open();
  EXPECT_TRUE(stuck.get().ok());
  EXPECT_TRUE(also.get().ok());
}

TEST(StoreTest, AShelfThatFailsCostsDurabilityOnly) {
  const TempFolder folder;
  Gate gate;
  const auto store = OpenGated(folder, gate);
  Text text = Talk(*store, {9});
  gate.FailWith(absl::UnavailableError("no network"));
  const auto info = RunTurn(*store, kTalk, text, {1, 2});
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_FALSE(info->durable);
  EXPECT_EQ(store->Get({kDefaultTenant, "unknown"}).status().code(),
            absl::StatusCode::kUnavailable);
  gate.FailWith(absl::OkStatus());
  EXPECT_TRUE(RunTurn(*store, kTalk, text, {3})->durable);
  testing::ExpectTurnOf(**OpenStore({.dir = folder.path() / "s"})->BeginTurn(kTalk), text);
}

TEST(StoreTest, ASessionThatCouldNotBeRemovedStillLeavesMemory) {
  const TempFolder folder;
  Gate gate;
  const auto store = OpenGated(folder, gate, {.memory_bytes = 3 * testing::kSlotBytes});
  const SessionName other{kDefaultTenant, "other"};
  const Text text = Talk(*store, {9});
  gate.FailWith(absl::UnavailableError("no network"));
  EXPECT_EQ(store->Delete(kTalk).code(), absl::StatusCode::kUnavailable);
  gate.FailWith(absl::OkStatus());
  EXPECT_EQ(store->Get(kTalk)->place, SessionPlace::kInMemory);
  Talk(*store, {2, 2, 2}, other);
  EXPECT_EQ(store->Get(kTalk)->place, SessionPlace::kOnDisk);
  EXPECT_LE(store->Stats().memory_bytes, 3 * testing::kSlotBytes);
  testing::ExpectTurnOf(**store->BeginTurn(kTalk), text);
}

TEST(StoreTest, SessionsAreCountedWithoutTheShelf) {
  const TempFolder folder;
  Gate gate;
  const auto store = OpenGated(folder, gate);
  for (const char* id : {"a", "b", "c"}) Create(*store, {"alice", id});
  ASSERT_TRUE(store->Fork({"alice", "a"}, 4).ok());
  ASSERT_TRUE(store->Delete({"alice", "b"}).ok());
  const int calls = gate.calls();
  EXPECT_EQ(store->CountOf("alice"), 6);
  EXPECT_EQ(store->CountOf("bob"), 0);
  EXPECT_EQ(gate.calls(), calls);
  EXPECT_EQ(OpenStore({.dir = folder.path() / "s"})->CountOf("alice"), 6) << "after a restart";
}

TEST(StoreTest, CallsAndStatisticsAgreeOnWhatIsInMemory) {
  const TempFolder folder;
  const auto check = [](SessionStore& store, SessionPlace expected) {
    EXPECT_EQ(store.Get(kTalk)->place, expected);
    EXPECT_EQ(store.Stats().in_memory, expected == SessionPlace::kInMemory ? 1 : 0);
    EXPECT_EQ(store.Stats().on_disk, expected == SessionPlace::kOnDisk ? 1 : 0);
  };
  auto store = OpenStore({.dir = folder.path() / "s"});
  Create(*store);  // without a state
  check(*store, SessionPlace::kInMemory);
  store = OpenStore({.dir = folder.path() / "s", .memory_bytes = 0});
  check(*store, SessionPlace::kOnDisk);
  ASSERT_TRUE(store->Update(kTalk, {.pinned = true}).ok());
  store = OpenStore({.dir = folder.path() / "s"});
  Text text;
  ASSERT_TRUE(RunTurn(*store, kTalk, text, {1, 2, 3}).ok());
  check(*store, SessionPlace::kInMemory);
}

TEST(StoreTest, AResumeThatAnotherServerForestalledIsRefused) {
  const TempFolder folder;
  const auto store = OpenStore({.dir = folder.path() / "s"});
  Text text = Talk(*store, {5});
  auto turn = store->BeginTurn(kTalk);
  text.push_back(9);
  const auto token = (*turn)->Interrupt({9}, StateAfter(text, 5), {"r", 1, 1});
  ASSERT_TRUE(token.ok());
  const auto other = OpenStore({.dir = folder.path() / "s"});
  ASSERT_TRUE(RunTurn(*other, kTalk, text, {1, 2}).ok());
  EXPECT_EQ(store->BeginResume(kDefaultTenant, *token).status().code(),
            absl::StatusCode::kNotFound);
  testing::ExpectTurnOf(**store->BeginTurn(kTalk), text);
}

TEST(StoreTest, AnInterruptedRequestKeepsItsFormat) {
  const TempFolder folder;
  for (const RequestFormat format : {RequestFormat::kApiMessage, RequestFormat::kServiceRecord}) {
    auto store = OpenStore({.dir = folder.path() / "s"});
    (void)store->Delete(kTalk);
    Text text = Talk(*store, {5});
    auto turn = store->BeginTurn(kTalk);
    text.push_back(9);
    const auto token = (*turn)->Interrupt({9}, StateAfter(text, 5), {"r", 1, 1, format});
    ASSERT_TRUE(token.ok());
    store = OpenStore({.dir = folder.path() / "s"});
    const auto resumed = store->BeginResume(kDefaultTenant, *token);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_EQ(resumed->record.format, format);
    EXPECT_EQ(resumed->record.request, "r");
  }
}

TEST(StoreTest, AnArchiveThatDoesNotFitIsRefused) {
  const auto store = OpenStore({});
  Create(*store);
  const Text text = NextTokens({}, 12, 1);
  const auto chunk = [](int64_t begin, int64_t end, int64_t bytes) {
    return std::make_shared<testing::FakeChunk>(begin,
                                                std::make_shared<engine::Snapshot>(end, bytes));
  };
  for (const engine::Archive& archive :
       {engine::Archive{nullptr}, engine::Archive{chunk(1, 5, 10)},
        engine::Archive{chunk(0, 12, 10)}, engine::Archive{chunk(5, 5, 10)},
        engine::Archive{chunk(0, 5, 0)}, engine::Archive{chunk(0, 5, 10), chunk(4, 9, 10)},
        engine::Archive{chunk(0, 5, 10), chunk(5, 9, 10)},
        engine::Archive{chunk(0, 5, 10), chunk(5, 10, 11)}}) {
    auto turn = store->BeginTurn(kTalk);
    const auto info = (*turn)->Commit(text, {StateAfter(text, 11), archive});
    EXPECT_EQ(info.status().code(), absl::StatusCode::kInvalidArgument) << info.status();
  }
  EXPECT_EQ(store->Get(kTalk)->tokens, 0);
}

TEST(StoreTest, WithoutADirectoryRewindPointsGoFirst) {
  const SessionName other{kDefaultTenant, "other"};
  const auto store = OpenStore({.memory_bytes = 7 * testing::kSlotBytes});
  Talk(*store, {2, 2, 2, 2}, other);
  EXPECT_EQ(store->Get(other)->rewind_points.size(), 4);
  Talk(*store, {2, 2, 2, 2});
  EXPECT_EQ(store->Get(other)->rewind_points.size(), 1) << "used longer ago";
  EXPECT_EQ(store->Get(kTalk)->rewind_points.size(), 4);
  EXPECT_LE(store->Stats().memory_bytes, 7 * testing::kSlotBytes);
}

TEST(StoreTest, WithoutADirectoryAFullMemoryTakesNoMoreSessions) {
  const auto store = OpenStore({.memory_bytes = 2 * testing::kSlotBytes});
  const std::vector<SessionName> names = {{kDefaultTenant, "0"}, {kDefaultTenant, "1"}};
  for (const SessionName& name : names) Talk(*store, {3}, name);
  EXPECT_EQ(store->Create(kTalk, {}).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(store->Fork(names[0], 1).status().code(), absl::StatusCode::kResourceExhausted);
  // Existing sessions go on.
  Text text = NextTokens({}, 3, 1);
  EXPECT_TRUE(RunTurn(*store, names[0], text, {1, 2}).ok());
  ASSERT_TRUE(store->Delete(names[1]).ok());
  Create(*store);
}

TEST(StoreTest, ThereIsAMostOfSessions) {
  const auto store = OpenStore({.max_sessions = 2});
  Create(*store);
  EXPECT_EQ(store->Fork(kTalk, 2).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(store->Fork(kTalk, 1).ok());
  const auto refused = store->Create({kDefaultTenant, "third"}, {});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("is 3; allowed: up to 2"));
}

TEST(StoreTest, ParkedSessionsLeaveMemoryAndComeBack) {
  constexpr int64_t kMemory = 10 * testing::kSlotBytes;
  const TempFolder folder;
  const auto store = OpenStore({.dir = folder.path() / "s", .memory_bytes = kMemory});
  std::vector<SessionName> names;
  std::vector<Text> texts;
  for (int i = 0; i < 20; ++i) {
    names.push_back({kDefaultTenant, std::to_string(i)});
    texts.push_back(Talk(*store, {3, i + 1}, names.back()));
    EXPECT_LE(store->Stats().memory_bytes, kMemory);
  }
  const SessionStats stats = store->Stats();
  EXPECT_GT(stats.in_memory, 0);
  EXPECT_GT(stats.on_disk, 10);
  EXPECT_EQ(stats.disk_bytes, 40 * testing::kSlotBytes);
  EXPECT_EQ(store->Get(names.front())->place, SessionPlace::kOnDisk);
  EXPECT_EQ(store->Get(names.back())->place, SessionPlace::kInMemory);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(RunTurn(*store, names[i], texts[i], {7}).ok());
  EXPECT_LE(store->Stats().memory_bytes, kMemory);
}

// Counts what it is told.
struct Counter final : SessionObserver {
  void OnSave(double) override { ++saves; }
  void OnRestore(double) override { ++restores; }
  void OnFork(int64_t children, double) override { forks += static_cast<int>(children); }
  void OnRewind(double) override { ++rewinds; }
  std::atomic<int> saves = 0, restores = 0, forks = 0, rewinds = 0;
};

TEST(StoreTest, TheObserverIsTold) {
  const TempFolder folder;
  Counter counter;
  auto store = SessionStore::Open(testing::FakeModel(),
                                  {.dir = folder.path() / "s", .memory_bytes = 0}, &counter);
  ASSERT_TRUE(store.ok());
  Text text = Talk(**store, {4});
  EXPECT_EQ(counter.saves, 2);
  EXPECT_EQ(counter.restores, 0);
  EXPECT_TRUE(RunTurn(**store, kTalk, text, {1}).ok());
  EXPECT_EQ(counter.restores, 1);
  ASSERT_TRUE((*store)->Fork(kTalk, 3).ok());
  ASSERT_TRUE((*store)->Rewind(kTalk, 2).ok());
  EXPECT_EQ(counter.forks, 3);
  EXPECT_EQ(counter.rewinds, 1);
}

// Several threads use, fork, rewind, export, import and remove the same few sessions.
void Wander(SessionStore& store, uint64_t seed, int operations) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < operations; ++i) {
    const SessionName name{kDefaultTenant, std::to_string(random() % 6)};
    switch (random() % 8) {
      case 0:
        (void)store.Create(name, {});
        break;
      case 1: {
        const auto children = store.Fork(name, 2);
        if (!children.ok()) break;
        for (const SessionInfo& child : *children) {
          EXPECT_TRUE(store.Delete({kDefaultTenant, child.id}).ok());
        }
        break;
      }
      case 2:
        (void)store.Rewind(name, static_cast<int64_t>(random() % 50));
        break;
      case 3:
        if (random() % 8 == 0) (void)store.Delete(name);
        break;
      case 4: {
        const auto blob = store.Export(name, false);
        if (!blob.ok()) break;
        const auto bytes = testing::ReadAll(**blob, 500);
        ASSERT_TRUE(bytes.ok()) << bytes.status();
        const auto copy = testing::ImportAll(store, {"other", ""}, *bytes, 400);
        // Imports that run at the same time share the little memory that there is.
        EXPECT_TRUE(copy.ok() || absl::IsResourceExhausted(copy.status())) << copy.status();
        break;
      }
      case 5: {
        const auto page = store.List(kDefaultTenant, "", 3);
        EXPECT_TRUE(page.ok());
        store.Sweep();
        break;
      }
      default: {
        auto turn = store.BeginTurn(name);
        if (!turn.ok()) {
          const auto code = turn.status().code();
          EXPECT_TRUE(code == absl::StatusCode::kNotFound || code == absl::StatusCode::kAborted)
              << turn.status();
          break;
        }
        // The log holds the whole text, so that a state of another text is noticed.
        Text text = (*turn)->history();
        text.insert(text.end(), (*turn)->pending().begin(), (*turn)->pending().end());
        testing::ExpectTurnOf(**turn, text);
        const Text appended = NextTokens(text, 1 + random() % 9, static_cast<int32_t>(random()));
        text.insert(text.end(), appended.begin(), appended.end());
        EXPECT_TRUE((*turn)->Commit(appended, StateAfter(text, std::ssize(text) - 1)).ok());
      }
    }
  }
}

void WanderTogether(SessionStore& store, int operations) {
  constexpr int kThreads = 4;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&store, i, operations] { Wander(store, i, operations); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store.Stats().active, 0);
}

TEST(StoreTest, ThreadsDoNotMixSessions) {
  const auto store = OpenStore({.rewind_points = 3});
  WanderTogether(*store, 2'000);
}

TEST(StoreTest, ThreadsDoNotMixSessionsOnDisk) {
  const TempFolder folder;
  const auto store = OpenStore(
      {.dir = folder.path() / "s", .memory_bytes = 12 * testing::kSlotBytes, .rewind_points = 3});
  WanderTogether(*store, 100);
  int64_t states = 0;
  for (const std::string tenant : {kDefaultTenant, "other"}) {
    const auto page = store->List(tenant, "", 100'000);
    ASSERT_TRUE(page.ok());
    for (const SessionInfo& info : page->sessions) states += std::ssize(info.rewind_points);
  }
  EXPECT_EQ(testing::CountFiles(folder.path(), ".state"), states);
}

}  // namespace
}  // namespace fmaserver::sessions
