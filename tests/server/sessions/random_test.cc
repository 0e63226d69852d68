// Thousands of random operations, compared with plain texts that simply remember everything.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>

#include "base/id.h"
#include "gtest/gtest.h"
#include "tests/server/sessions/fake_states.h"
#include "tests/server/sessions/shelf/redis/redis_server.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::sessions {
namespace {

using testing::NextTokens;
using testing::StateAfter;
using testing::TempFolder;
using testing::Text;

struct World {
  const char* name;
  bool directory;
  int64_t memory_bytes;
  int stores;  // on one directory
  int operations;
  bool archived = false;  // states have archives
  bool redis = false;     // a store on the network keeps them

  bool keeps() const { return directory || redis; }
};

class RandomTest : public ::testing::TestWithParam<World> {
 protected:
  RandomTest() {
    // What it keeps after a crash is another test's.
    if (GetParam().redis) redis_.emplace(std::vector<std::string>{"--appendonly", "no"});
    Reopen();
  }

  // On a file system in memory where there is one: this needs many operations, not a disk.
  static void SetUpTestSuite() {
    if (std::filesystem::exists("/dev/shm")) setenv("TMPDIR", "/dev/shm", /*overwrite=*/0);
  }

  int64_t Draw(int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random_);
  }

  void Reopen() {
    stores_.clear();
    SessionOptions options{
        .memory_bytes = GetParam().memory_bytes, .rewind_points = 4, .log_tokens = 48};
    if (GetParam().directory) options.dir = folder_.path() / "sessions";
    if (redis_) options.store = redis_->options();
    for (int i = 0; i < GetParam().stores; ++i) stores_.push_back(testing::OpenStore(options));
  }

  SessionStore& AnyStore() { return *stores_[Draw(0, std::ssize(stores_) - 1)]; }

  // A session of the reference, or a name without a session.
  SessionName AnyName() {
    if (texts_.empty() || Draw(0, 20) == 0) return {tenants_[Draw(0, 1)], "nobody"};
    auto session = texts_.begin();
    std::advance(session, Draw(0, std::ssize(texts_) - 1));
    return session->first;
  }

  // Checks what the store says about a session that the reference does not have.
  bool Known(const SessionName& name, const absl::Status& status) {
    if (texts_.contains(name)) return true;
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << name.id;
    return false;
  }

  void Create() {
    // The same ids in both tenants.
    const SessionName name{tenants_[Draw(0, 1)], std::to_string(Draw(0, 40))};
    const auto info = AnyStore().Create(name, {});
    if (texts_.contains(name)) {
      EXPECT_EQ(info.status().code(), absl::StatusCode::kAlreadyExists);
    } else {
      ASSERT_TRUE(info.ok()) << info.status();
      EXPECT_EQ(info->tokens, 0);
      texts_[name] = {};
    }
  }

  void RunTurn() {
    const SessionName name = AnyName();
    auto turn = AnyStore().BeginTurn(name);
    if (!Known(name, turn.status())) return;
    ASSERT_TRUE(turn.ok()) << turn.status();
    Text& text = texts_[name];
    testing::ExpectTurnOf(**turn, text, GetParam().archived);
    FinishTurn(**turn, text);
  }

  void Branch() {
    const SessionName parent = AnyName();
    const SessionName child{parent.tenant, RandomId()};
    auto turn = AnyStore().BeginBranch(child, parent.id);
    if (!Known(parent, turn.status())) return;
    ASSERT_TRUE(turn.ok()) << turn.status();
    Text text = texts_[parent];
    testing::ExpectTurnOf(**turn, text, GetParam().archived);
    if (Draw(0, 3) == 0) Delete();  // of the parent, now and then
    FinishTurn(**turn, text);
    if (committed_) texts_[child] = std::move(text);
  }

  // `archive` grows with the state, as a sequence's does.
  static engine::State StateOf(const Text& text, int64_t tokens, engine::Archive& archive) {
    if (!GetParam().archived || tokens == 0) return StateAfter(text, tokens);
    engine::State state = testing::ArchivedAfter(text, tokens, archive);
    if (state.archive.size() > archive.size()) archive = state.archive;
    return state;
  }

  void FinishTurn(Turn& turn, Text& text) {
    committed_ = false;
    const Text appended = NextTokens(text, Draw(0, 30), static_cast<int32_t>(Draw(0, 1 << 20)));
    Text whole = text;
    whole.insert(whole.end(), appended.begin(), appended.end());
    engine::Archive archive = turn.state().archive;
    for (int64_t point = Draw(1, 40); point < std::ssize(whole); point += Draw(1, 20)) {
      turn.AddPoint(StateOf(whole, point, archive));
    }
    if (Draw(0, 4) == 0) return;  // rolled back
    const int64_t least = turn.state().slot == nullptr ? 0 : turn.state().slot->tokens();
    const int64_t read = Draw(0, 4) == 0 ? Draw(least, std::ssize(whole))
                                         : std::max<int64_t>(least, std::ssize(whole) - 1);
    const auto info = turn.Commit(appended, StateOf(whole, read, archive));
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->tokens, std::ssize(whole));
    EXPECT_EQ(info->durable, GetParam().keeps());
    EXPECT_LE(std::ssize(info->rewind_points), 5);
    text = std::move(whole);
    committed_ = true;
  }

  void InterruptAndResume() {
    const SessionName name = AnyName();
    auto turn = AnyStore().BeginTurn(name);
    if (!Known(name, turn.status())) return;
    ASSERT_TRUE(turn.ok()) << turn.status();
    Text& text = texts_[name];
    const size_t begin = text.size();
    engine::Archive archive = (*turn)->state().archive;
    const Text appended = NextTokens(text, Draw(1, 90), 5);
    text.insert(text.end(), appended.begin(), appended.end());
    const int64_t generated = Draw(0, std::ssize(appended));
    const int64_t read = Draw(0, std::ssize(text) - 1);
    const auto token =
        (*turn)->Interrupt(appended, StateOf(text, read, archive), {"request", 99, generated});
    turn->reset();
    ASSERT_TRUE(token.ok()) << token.status();
    if (GetParam().keeps() && Draw(0, 1) == 0) Reopen();
    if (Draw(0, 3) == 0) return;  // never taken up

    SessionStore& other = AnyStore();
    EXPECT_EQ(other.BeginResume(name.tenant, *token + "x").status().code(),
              absl::StatusCode::kNotFound);
    EXPECT_EQ(other.BeginResume("third", *token).status().code(), absl::StatusCode::kNotFound);
    auto resumed = other.BeginResume(name.tenant, *token);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_EQ(resumed->record.request, "request");
    EXPECT_EQ(resumed->record.seed, 99);
    EXPECT_EQ(resumed->generated, Text(text.end() - generated, text.end()));
    testing::ExpectTurnOf(*resumed->turn, text, GetParam().archived);
    EXPECT_GE(resumed->turn->pending().size(), 1);
    // Everything that the turn itself appended is seen.
    EXPECT_GE(resumed->turn->history().size() + resumed->turn->pending().size(),
              text.size() - begin);
    if (Draw(0, 1) == 0) FinishTurn(*resumed->turn, text);
  }

  void Fork() {
    const SessionName name = AnyName();
    const int64_t children = Draw(1, 3);
    SessionStore& store = AnyStore();
    const auto infos = store.Fork(name, children);
    if (!Known(name, infos.status())) return;
    ASSERT_TRUE(infos.ok()) << infos.status();
    ASSERT_EQ(std::ssize(*infos), children);
    for (const SessionInfo& info : *infos) {
      EXPECT_EQ(info.durable, GetParam().keeps());
      texts_[{name.tenant, info.id}] = texts_[name];
    }
  }

  void Rewind() {
    const SessionName name = AnyName();
    const auto before = AnyStore().Get(name);
    if (!Known(name, before.status())) return;
    ASSERT_TRUE(before.ok()) << before.status();
    const int64_t tokens = Draw(0, before->tokens);
    int64_t head = 0;
    for (const int64_t point : before->rewind_points) {
      if (point <= tokens) head = point;
    }
    const int64_t expected = before->log_begin <= head ? tokens : head;
    SessionStore& store = AnyStore();
    EXPECT_EQ(store.Rewind(name, before->tokens + 1).status().code(),
              absl::StatusCode::kInvalidArgument);
    const auto info = store.Rewind(name, tokens);
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->tokens, expected);
    texts_[name].resize(expected);
  }

  void Transfer() {
    const SessionName name = AnyName();
    const bool head_only = Draw(0, 1) == 0;
    auto blob = AnyStore().Export(name, head_only);
    if (!Known(name, blob.status())) return;
    ASSERT_TRUE(blob.ok()) << blob.status();
    const auto bytes = testing::ReadAll(**blob, Draw(1, 300));
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    const auto info =
        testing::ImportAll(AnyStore(), {tenants_[Draw(0, 1)], ""}, *bytes, Draw(1, 300));
    if (absl::IsResourceExhausted(info.status())) {
      // This may happen only for a session larger than the whole budget: nothing else in these
      // worlds fills memory.
      EXPECT_GT(std::ssize(*bytes), GetParam().memory_bytes) << info.status();
      return;
    }
    ASSERT_TRUE(info.ok()) << info.status();
    for (const std::string& tenant : tenants_) {
      if (AnyStore().Get({tenant, info->id}).ok()) texts_[{tenant, info->id}] = texts_[name];
    }
  }

  void Delete() {
    const SessionName name = AnyName();
    const absl::Status status = AnyStore().Delete(name);
    if (!Known(name, status)) return;
    ASSERT_TRUE(status.ok()) << status;
    texts_.erase(name);
  }

  void CheckAll() {
    for (const std::string& tenant : tenants_) {
      std::vector<std::string> expected;
      for (const auto& [name, text] : texts_) {
        if (name.tenant == tenant) expected.push_back(name.id);
      }
      std::vector<std::string> found;
      std::string from;
      do {
        const auto page = AnyStore().List(tenant, from, 7);
        ASSERT_TRUE(page.ok()) << page.status();
        for (const SessionInfo& info : page->sessions) found.push_back(info.id);
        from = page->next;
      } while (!from.empty());
      EXPECT_EQ(found, expected);
    }
    int64_t states = 0;
    int64_t bytes = 0;
    for (const auto& [name, text] : texts_) {
      SessionStore& store = AnyStore();
      const auto info = store.Get(name);
      ASSERT_TRUE(info.ok()) << info.status();
      states += std::ssize(info->rewind_points);
      bytes += info->bytes;
      auto turn = store.BeginTurn(name);
      ASSERT_TRUE(turn.ok()) << turn.status();
      testing::ExpectTurnOf(**turn, text, GetParam().archived);
    }
    if (GetParam().directory) {
      // Every file belongs to a session, and none is left half written.
      EXPECT_EQ(testing::CountFiles(folder_.path(), ".state"), states);
      const testing::PartFiles parts = testing::FindParts(folder_.path());
      EXPECT_EQ(parts.bytes, bytes);
      EXPECT_EQ(testing::CountFiles(folder_.path(), ""), parts.files + 1 + std::ssize(texts_));
      if (stores_.size() == 1) {
        EXPECT_EQ(stores_.front()->Stats().disk_bytes, parts.unique_bytes);
      }
    }
    if (redis_) {
      // Every session has its states, and every item somebody who holds it.
      EXPECT_EQ(redis_->Count("*:session:*"), std::ssize(texts_));
      EXPECT_EQ(redis_->Count("*:state:*") + redis_->Count("*:chunks:*"),
                2 * redis_->Count("*:owners"));
    }
    for (const auto& store : stores_) {
      const SessionStats stats = store->Stats();
      EXPECT_EQ(stats.active, 0);
      if (GetParam().keeps()) {
        EXPECT_LE(stats.memory_bytes, GetParam().memory_bytes);
      }
    }
  }

  const std::vector<std::string> tenants_ = {"alice", "bob"};
  TempFolder folder_;
  std::optional<testing::RedisServer> redis_;
  std::mt19937_64 random_{20240607};
  std::vector<std::unique_ptr<SessionStore>> stores_;
  std::map<SessionName, Text> texts_;
  bool committed_ = false;  // the last turn that was finished
};

TEST_P(RandomTest, AgreesWithPlainTexts) {
  for (int i = 0; i < GetParam().operations && !HasFailure(); ++i) {
    SCOPED_TRACE(i);
    const int64_t draw = Draw(0, 99);
    if (draw < 10) {
      Create();
    } else if (draw < 50) {
      RunTurn();
    } else if (draw < 58) {
      InterruptAndResume();
    } else if (draw < 66) {
      if (texts_.size() < 60) Draw(0, 1) == 0 ? Fork() : Branch();
    } else if (draw < 80) {
      Rewind();
    } else if (draw < 86) {
      if (texts_.size() < 60) Transfer();
    } else if (draw < 97) {
      Delete();
    } else if (draw == 97) {
      CheckAll();
    } else if (draw == 98) {
      AnyStore().DropArchives("", [this] { return Draw(0, 4) == 0; });
    } else if (GetParam().keeps()) {
      Reopen();
    }
  }
  CheckAll();
}

INSTANTIATE_TEST_SUITE_P(
    Worlds, RandomTest,
    ::testing::Values(World{"Memory", false, int64_t{1} << 30, 1, 20'000},
                      World{"Directory", true, int64_t{1} << 30, 1, 4'000},
                      World{"TinyMemory", true, 4'000, 1, 4'000},
                      World{"SharedDirectory", true, 20'000, 3, 4'000},
                      World{"ArchivesInMemory", false, int64_t{1} << 30, 1, 10'000, true},
                      World{"Archives", true, int64_t{1} << 30, 1, 2'000, true},
                      World{"ArchivesInTinyMemory", true, 4'000, 1, 2'000, true},
                      World{"SharedArchives", true, 30'000, 3, 2'000, true},
                      World{"Redis", false, 20'000, 3, 1'000, false, true},
                      World{"ArchivesInRedis", false, 30'000, 3, 1'000, true, true}),
    [](const ::testing::TestParamInfo<World>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace fmaserver::sessions
