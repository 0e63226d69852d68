// Turns that end as sessions of their own, and the notes that stay with them.
#include <filesystem>

#include "base/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/sessions/fake_states.h"
#include "tests/server/sessions/test_clock.h"
#include "tests/support/bytes_written.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::sessions {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::NextTokens;
using testing::OpenStore;
using testing::TempFolder;
using testing::TestClock;
using testing::Text;

SessionName Named(const std::string& id) { return {kDefaultTenant, id}; }

class BranchTest : public ::testing::Test {
 protected:
  BranchTest() { Reopen(); }

  void Reopen() {
    store_.reset();
    store_ = OpenStore({.dir = dir_, .log_tokens = 16}, clock_.now());
  }

  /// Begins a branch, whose parent must have the tokens of `text`.
  std::unique_ptr<Turn> Begin(const std::string& child, const std::string& parent,
                              const Text& text) {
    auto turn = store_->BeginBranch(Named(child), parent);
    EXPECT_TRUE(turn.ok()) << turn.status();
    testing::ExpectTurnOf(**turn, text, /*archived=*/true);
    return *std::move(turn);
  }

  /// Adds `count` tokens, and returns the text.
  Text End(Turn& turn, Text text, int64_t count, int32_t salt = 1) {
    const Text appended = NextTokens(text, count, salt);
    text.insert(text.end(), appended.begin(), appended.end());
    const auto info = turn.Commit(
        appended, testing::ArchivedAfter(text, std::ssize(text) - 1, turn.state().archive),
        Concat("note ", text.size()));
    if (!info.ok()) {
      ADD_FAILURE() << info.status();
      return text;
    }
    EXPECT_EQ(info->rewind_points.size(), 1U) << "its newest state alone";
    return text;
  }

  Text Branch(const std::string& child, const std::string& parent, const Text& text, int64_t count,
              int32_t salt = 1) {
    return End(*Begin(child, parent, text), text, count, salt);
  }

  void Expect(const std::string& id, const Text& text) {
    const auto turn = store_->BeginTurn(Named(id));
    ASSERT_TRUE(turn.ok()) << turn.status();
    testing::ExpectTurnOf(**turn, text, /*archived=*/true);
    EXPECT_EQ((*turn)->note(), Concat("note ", text.size()));
  }

  bool Exists(const std::string& id) { return store_->Get(Named(id)).ok(); }

  /// The volumes of a session.
  int64_t CountVolumes(const std::string& id) const {
    int64_t count = 0;
    for (const auto& entry : fs::directory_iterator(dir_ / kDefaultTenant)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(id + ".") && name.ends_with(".chunks")) ++count;
    }
    return count;
  }

  TempFolder folder_;
  const fs::path dir_ = folder_.path() / "sessions";
  TestClock clock_;
  std::unique_ptr<SessionStore> store_;
};

TEST_F(BranchTest, EachChildGoesOnFromItsParentAndLeavesItAsItIs) {
  const Text root = Branch("root", "", {}, 12);
  // Both at once.
  const auto left = Begin("left", "root", root);
  const auto right = Begin("right", "root", root);
  const Text right_text = End(*right, root, 9, /*salt=*/2);
  const Text left_text = End(*left, root, 11, /*salt=*/3);
  for (int opened = 0; opened < 2; ++opened) {
    Expect("root", root);
    Expect("left", left_text);
    Expect("right", right_text);
    Reopen();
  }
  const Text grandchild = Branch("grandchild", "left", left_text, 30);
  ASSERT_TRUE(store_->Delete(Named("left")).ok());
  Reopen();
  EXPECT_FALSE(Exists("left"));
  Expect("grandchild", grandchild);
  Expect("right", right_text);
}

TEST_F(BranchTest, UntilItCommitsThereIsNoChild) {
  const Text root = Branch("root", "", {}, 12);
  auto turn = Begin("child", "root", root);
  EXPECT_FALSE(Exists("child"));
  EXPECT_EQ(store_->BeginTurn(Named("child")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Delete(Named("child")).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Create(Named("child"), {}).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(store_->List(kDefaultTenant, "", 10)->sessions.size(), 1U);
  turn.reset();
  EXPECT_FALSE(Exists("child"));
  EXPECT_EQ(testing::CountFiles(dir_, ".session"), 1);
  EXPECT_TRUE(store_->Create(Named("child"), {}).ok());
  EXPECT_EQ(store_->BeginBranch(Named("child"), "root").status().code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(BranchTest, AParentMustBeThere) {
  EXPECT_EQ(store_->BeginBranch(Named("child"), "nobody").status().code(),
            absl::StatusCode::kNotFound);
  Branch("root", "", {}, 12);
  EXPECT_EQ(store_->BeginBranch({"other", "child"}, "root").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_FALSE(Exists("child"));
}

// Also a parent whose archive the child shares.
TEST_F(BranchTest, AParentMayGoDuringTheTurn) {
  const Text root = Branch("root", "", {}, 12);
  const auto turn = Begin("child", "root", root);
  ASSERT_TRUE(store_->Delete(Named("root")).ok());
  const Text text = End(*turn, root, 9);
  Expect("child", text);
  Reopen();
  Expect("child", text);
  EXPECT_EQ(testing::CountFiles(dir_, ".state"), 1);
}

TEST_F(BranchTest, WithoutAChildNothingIsKept) {
  const Text root = Branch("root", "", {}, 12);
  Begin("", "root", root);
  EXPECT_EQ(store_->List(kDefaultTenant, "", 10)->sessions.size(), 1U);
  EXPECT_EQ(testing::CountFiles(dir_, ".session"), 1);
}

TEST_F(BranchTest, ChildrenLiveAsLongAsTheirParentMay) {
  Branch("root", "", {}, 12);
  ASSERT_TRUE(store_->Update(Named("root"), {.ttl_seconds = 50, .pinned = true}).ok());
  Branch("child", "root", NextTokens({}, 12, 1), 5);
  const auto child = store_->Get(Named("child"));
  EXPECT_EQ(child->ttl_seconds, 50);
  EXPECT_FALSE(child->pinned);
  clock_.Advance(40);
  EXPECT_TRUE(store_->Note(Named("child")).ok());
  clock_.Advance(40);
  EXPECT_TRUE(Exists("child")) << "reading its note was a use of it";
  clock_.Advance(51);
  EXPECT_FALSE(Exists("child"));
}

TEST_F(BranchTest, ChildrenCountAsSessions) {
  store_ = OpenStore({.max_sessions = 2}, clock_.now());
  const Text root = Branch("root", "", {}, 12);
  Branch("child", "root", root, 5);
  EXPECT_EQ(store_->BeginBranch(Named("more"), "root").status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(store_->BeginBranch(Named(""), "root").ok());
}

TEST_F(BranchTest, ANoteStaysUntilItsSessionIsAnother) {
  const Text root = Branch("root", "", {}, 12);
  const auto note = [&](const std::string& id) { return store_->Note(Named(id)).value_or("none"); };
  EXPECT_EQ(note("nobody"), "none");
  EXPECT_EQ(note("root"), "note 12");
  const std::string fork = store_->Fork(Named("root"), 1)->front().id;
  EXPECT_EQ(note(fork), "");
  Reopen();
  EXPECT_EQ(note("root"), "note 12");
  EXPECT_EQ(note(fork), "");
  ASSERT_TRUE(store_->Update(Named("root"), {.ttl_seconds = 5}).ok());
  EXPECT_EQ(note("root"), "note 12");
  const auto blob = testing::ReadAll(**store_->Export(Named("root"), true), 100);
  ASSERT_TRUE(testing::ImportAll(*store_, Named("copy"), *blob, 100).ok());
  EXPECT_EQ(note("copy"), "");
  const Text child = Branch("child", "root", root, 5);
  ASSERT_TRUE(store_->Rewind(Named("child"), 16).ok());
  EXPECT_EQ(note("child"), "");
  Text text = root;
  ASSERT_TRUE(testing::RunArchivedTurn(*store_, Named("root"), text, NextTokens(text, 5, 1)).ok());
  EXPECT_EQ(note("root"), "");
}

TEST_F(BranchTest, ANoteHasAMostOfBytes) {
  const auto turn = store_->BeginBranch(Named("child"), "");
  const auto info = (*turn)->Commit({1}, {}, std::string(kMaxNoteBytes + 1, 'x'));
  EXPECT_EQ(info.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(info.status().message()), HasSubstr("note is 67108865 bytes"));
  EXPECT_FALSE(Exists("child"));
}

// Turns of 3 tokens: most add no chunk, the others one.
TEST_F(BranchTest, Turn200WritesWhatTurn10Writes) {
  std::string last;
  Text text;
  std::vector<int64_t> written;
  for (int turn = 1; turn <= 200; ++turn) {
    const std::string id = Concat("turn", turn);
    const int64_t before = testing::BytesWritten();
    text = Branch(id, last, text, 3);
    written.push_back(testing::BytesWritten() - before);
    last = id;
    if (turn <= 10) continue;
    ASSERT_NEAR(written[turn - 1], written[turn - 6], 20) << turn;  // numbers get more digits
  }
  EXPECT_EQ(CountVolumes(last), 1);
  Reopen();
  Expect(last, text);
  Expect("turn7", Text(text.begin(), text.begin() + 21));
}

// A backup that knows no links, or a file system without them.
TEST_F(BranchTest, CopiesOfAVolumeDoNotMeet) {
  const Text root = Branch("root", "", {}, 12);
  const Text child = Branch("child", "root", root, 2);
  EXPECT_EQ(CountVolumes("child"), 1) << "and nothing was added to it";
  store_.reset();
  fs::copy(dir_, folder_.path() / "copy", fs::copy_options::recursive);
  fs::remove_all(dir_);
  fs::rename(folder_.path() / "copy", dir_);
  Reopen();
  const Text of_root = Branch("of_root", "root", root, 20, /*salt=*/2);
  const Text of_child = Branch("of_child", "child", child, 20, /*salt=*/3);
  for (int opened = 0; opened < 2; ++opened) {
    Expect("of_root", of_root);
    Expect("of_child", of_child);
    Reopen();
  }
}

}  // namespace
}  // namespace fmaserver::sessions
