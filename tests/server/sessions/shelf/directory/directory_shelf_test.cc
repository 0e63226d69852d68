// The session directory: restarts, damage, other models, several servers, disks that fail.
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>

#include "base/file_descriptor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/sessions/fake_states.h"
#include "tests/support/full_disk.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::sessions {
namespace {

namespace fs = std::filesystem;
using testing::CountFiles;
using ::testing::HasSubstr;
using testing::kTalk;
using testing::NextTokens;
using testing::OpenStore;
using testing::ReadFile;
using testing::RunTurn;
using testing::StateAfter;
using testing::TempFolder;
using testing::Text;
using testing::WriteFile;

const SessionName kOther{kDefaultTenant, "other"};

class DirectoryTest : public ::testing::Test {
 protected:
  DirectoryTest() : store_(Open()) {
    EXPECT_TRUE(store_->Create(kTalk, {}).ok());
    EXPECT_TRUE(store_->Create(kOther, {}).ok());
    EXPECT_TRUE(RunTurn(*store_, kTalk, text_, NextTokens(text_, 9, 1)).ok());
    EXPECT_TRUE(RunTurn(*store_, kTalk, text_, NextTokens(text_, 4, 1)).ok());
    EXPECT_TRUE(RunTurn(*store_, kOther, other_text_, NextTokens(text_, 5, 2)).ok());
  }

  std::unique_ptr<SessionStore> Open() { return OpenStore({.dir = dir_}); }

  fs::path TenantFolder() const { return dir_ / kDefaultTenant; }

  // The newest state of kTalk, then its older ones.
  fs::path StateFile(int64_t tokens) const {
    for (const auto& entry : fs::directory_iterator(TenantFolder())) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with("talk.") || !name.ends_with(".state")) continue;
      const std::string bytes = ReadFile(entry.path());
      const engine::SnapshotPtr state = StateAfter(text_, tokens);
      const std::string payload(reinterpret_cast<const char*>(state->bytes().data()),
                                testing::kSlotBytes);
      if (bytes.find(payload) != std::string::npos) return entry.path();
    }
    ADD_FAILURE() << "no state after " << tokens << " tokens";
    return {};
  }

  static void Flip(const fs::path& file, size_t at) {
    std::string bytes = ReadFile(file);
    bytes.at(at) = static_cast<char>(bytes.at(at) ^ 4);
    ASSERT_TRUE(WriteFile(file, bytes));
  }

  TempFolder folder_;
  const fs::path dir_ = folder_.path() / "sessions";
  Text text_;
  Text other_text_;
  std::unique_ptr<SessionStore> store_;
};

TEST_F(DirectoryTest, ARestartForgetsNothing) {
  const auto before = store_->Get(kTalk);
  store_.reset();
  store_ = Open();
  const auto after = store_->Get(kTalk);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(after->tokens, before->tokens);
  EXPECT_EQ(after->rewind_points, before->rewind_points);
  EXPECT_EQ(after->place, SessionPlace::kOnDisk);
  EXPECT_TRUE(after->durable);
  testing::ExpectTurnOf(**store_->BeginTurn(kTalk), text_);
}

TEST_F(DirectoryTest, ForksStillShareAfterARestart) {
  ASSERT_TRUE(store_->Fork(kTalk, 10).ok());
  const int64_t disk_bytes = store_->Stats().disk_bytes;
  EXPECT_EQ(disk_bytes, 3 * testing::kSlotBytes);
  store_.reset();
  store_ = Open();
  EXPECT_EQ(store_->Stats().disk_bytes, disk_bytes);
  // The children survive without the parent.
  ASSERT_TRUE(store_->Delete(kTalk).ok());
  const auto page = store_->List(kDefaultTenant, "", 100);
  ASSERT_EQ(page->sessions.size(), 11);
  for (const SessionInfo& info : page->sessions) {
    if (info.id == kOther.id) continue;
    testing::ExpectTurnOf(**store_->BeginTurn({kDefaultTenant, info.id}), text_);
  }
}

TEST_F(DirectoryTest, ADamagedStateIsSetAside) {
  const fs::path file = StateFile(12);
  for (const size_t at :
       {size_t{3}, size_t{10}, size_t{40}, size_t{250}, fs::file_size(file) - 1}) {
    SCOPED_TRACE(at);
    store_.reset();
    const std::string sound = ReadFile(file);
    Flip(file, at);
    store_ = Open();
    for (int attempt = 0; attempt < 2; ++attempt) {
      const auto turn = store_->BeginTurn(kTalk);
      EXPECT_EQ(turn.status().code(), absl::StatusCode::kDataLoss);
      EXPECT_THAT(std::string(turn.status().message()), HasSubstr(file.string()));
    }
    EXPECT_TRUE(fs::exists(file.string() + ".damaged"));
    EXPECT_FALSE(fs::exists(file));
    testing::ExpectTurnOf(**store_->BeginTurn(kOther), other_text_);
    ASSERT_TRUE(WriteFile(file, sound));
    testing::ExpectTurnOf(**store_->BeginTurn(kTalk), text_);
  }
}

TEST_F(DirectoryTest, AnEarlierStateServesWhenTheHeadIsDamaged) {
  Flip(StateFile(12), 300);
  store_.reset();
  store_ = Open();
  EXPECT_EQ(store_->BeginTurn(kTalk).status().code(), absl::StatusCode::kDataLoss);
  const auto info = store_->Rewind(kTalk, 11);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->tokens, 11);
  text_.resize(11);
  EXPECT_TRUE(RunTurn(*store_, kTalk, text_, {5, 6}).ok());
}

TEST_F(DirectoryTest, ADamagedRecordIsSetAside) {
  const fs::path file = TenantFolder() / "talk.session";
  const std::string sound = ReadFile(file);
  for (size_t at = 0; at < sound.size(); ++at) {
    SCOPED_TRACE(at);
    store_.reset();
    std::string damaged = sound;
    damaged[at] = static_cast<char>(damaged[at] ^ 16);
    ASSERT_TRUE(WriteFile(file, damaged));
    store_ = Open();
    // Damage in the header is found when the directory is listed, other damage when the file is
    // read.
    const absl::StatusCode code = store_->BeginTurn(kTalk).status().code();
    EXPECT_TRUE(code == absl::StatusCode::kNotFound || code == absl::StatusCode::kDataLoss);
    EXPECT_EQ(store_->Get(kTalk).status().code(), absl::StatusCode::kNotFound);
    EXPECT_TRUE(fs::exists(file.string() + ".damaged"));
    testing::ExpectTurnOf(**store_->BeginTurn(kOther), other_text_);
  }
}

// Its states have their own checksums, and the operator may have a backup of the record.
TEST_F(DirectoryTest, TheStatesOfADamagedRecordAreKept) {
  const fs::path file = TenantFolder() / "talk.session";
  const std::string sound = ReadFile(file);
  const int64_t states = CountFiles(dir_, ".state");
  for (const size_t at : {size_t{20}, sound.size() - 1}) {  // in the header, in the payload
    store_.reset();
    ASSERT_TRUE(WriteFile(file, sound));
    Flip(file, at);
    for (int start = 0; start < 3; ++start) {
      store_ = Open();
      EXPECT_FALSE(store_->BeginTurn(kTalk).ok());
      EXPECT_EQ(CountFiles(dir_, ".state"), states) << start;
      store_.reset();
    }
    ASSERT_TRUE(WriteFile(file, sound));
    store_ = Open();
    testing::ExpectTurnOf(**store_->BeginTurn(kTalk), text_);
    store_.reset();
    fs::remove(file.string() + ".damaged");
    ASSERT_TRUE(WriteFile(file, sound));
  }
}

TEST_F(DirectoryTest, WithoutTheDamagedRecordItsStatesGo) {
  store_.reset();
  Flip(TenantFolder() / "talk.session", 20);
  Open();
  fs::remove(TenantFolder() / "talk.session.damaged");
  store_ = Open();
  EXPECT_EQ(CountFiles(dir_, ".state"), 1) << "that of the other session";
}

TEST_F(DirectoryTest, ALockThatCannotBeHadIsAFailure) {
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    if (fs::read_symlink(entry.path(), error) == dir_ / "lock") {
      const FileDescriptor unlockable(open(dir_.c_str(), O_PATH | O_CLOEXEC));
      ASSERT_GE(dup2(unlockable.get(), std::stoi(entry.path().filename())), 0);
    }
  }
  const auto info = RunTurn(*store_, kTalk, text_, {1, 2});
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_FALSE(info->durable);
  const absl::Status removed = store_->Delete(kOther);
  EXPECT_EQ(removed.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(removed.message()), HasSubstr("cannot be locked"));
  EXPECT_TRUE(store_->Get(kOther).ok());
}

TEST_F(DirectoryTest, ATornFileIsNeverHalfLoaded) {
  const fs::path file = TenantFolder() / "talk.session";
  const std::string sound = ReadFile(file);
  for (size_t size = 0; size < sound.size(); size += 7) {
    store_.reset();
    ASSERT_TRUE(WriteFile(file, sound.substr(0, size)));
    store_ = Open();
    EXPECT_EQ(store_->Get(kTalk).status().code(), absl::StatusCode::kNotFound) << size;
  }
}

TEST_F(DirectoryTest, AStateOfAnotherSessionIsNoticed) {
  const fs::path head = StateFile(12);
  fs::path other;
  for (const auto& entry : fs::directory_iterator(TenantFolder())) {
    if (entry.path().filename().string().starts_with("other.") &&
        entry.path().string().ends_with(".state")) {
      other = entry.path();
    }
  }
  fs::copy_file(other, head, fs::copy_options::overwrite_existing);
  store_.reset();
  store_ = Open();
  EXPECT_EQ(store_->BeginTurn(kTalk).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(DirectoryTest, WhatIsNotASessionIsLeftAlone) {
  store_.reset();
  ASSERT_TRUE(WriteFile(TenantFolder() / "notes.txt", "x"));
  ASSERT_TRUE(WriteFile(TenantFolder() / "not a name.session", "x"));
  ASSERT_TRUE(WriteFile(dir_ / "file", "x"));
  fs::create_directories(dir_ / "no tenant" / "deep");
  fs::create_directories(TenantFolder() / "folder.session");
  store_ = Open();
  EXPECT_TRUE(fs::exists(TenantFolder() / "notes.txt"));
  EXPECT_TRUE(fs::exists(TenantFolder() / "not a name.session"));
  EXPECT_TRUE(fs::exists(dir_ / "no tenant" / "deep"));
  testing::ExpectTurnOf(**store_->BeginTurn(kTalk), text_);
}

TEST_F(DirectoryTest, WhatACrashLeftIsRemoved) {
  store_.reset();
  const int64_t files = CountFiles(dir_, "");
  fs::create_directories(dir_ / ".writer-dead");
  ASSERT_TRUE(WriteFile(dir_ / ".writer-dead" / "half", "x"));
  ASSERT_TRUE(WriteFile(TenantFolder() / "talk.AAAAAAAAAAAAAAAAAAAAAA.state", "x"));
  ASSERT_TRUE(WriteFile(TenantFolder() / "gone.AAAAAAAAAAAAAAAAAAAAAA.state", "x"));
  store_ = Open();
  EXPECT_EQ(CountFiles(dir_, ""), files);
}

TEST_F(DirectoryTest, AnotherModelLeavesTheSessionsAlone) {
  store_.reset();
  const int64_t files = CountFiles(dir_, "");
  SessionModel model = testing::FakeModel();
  model.fingerprint = std::string(32, 'n');
  {
    auto other = SessionStore::Open(model, {.dir = dir_}, nullptr);
    ASSERT_TRUE(other.ok());
    EXPECT_TRUE((*other)->List(kDefaultTenant, "", 10)->sessions.empty());
    EXPECT_FALSE((*other)->Get(kTalk).ok());
    // Its name cannot be taken either.
    EXPECT_FALSE((*other)->Create(kTalk, {}).ok());
    EXPECT_EQ(CountFiles(dir_, ""), files);
  }
  store_ = Open();
  testing::ExpectTurnOf(**store_->BeginTurn(kTalk), text_);
}

TEST_F(DirectoryTest, TwoServersSeeEachOthersSessions) {
  const auto second = Open();
  testing::ExpectTurnOf(**second->BeginTurn(kTalk), text_);
  ASSERT_TRUE(RunTurn(*second, kTalk, text_, {1, 2, 3}).ok());
  testing::ExpectTurnOf(**store_->BeginTurn(kTalk), text_);
  ASSERT_TRUE(store_->Create({kDefaultTenant, "new"}, {}).ok());
  EXPECT_EQ(second->List(kDefaultTenant, "", 10)->sessions.size(), 3);
  EXPECT_EQ(second->Create({kDefaultTenant, "new"}, {}).status().code(),
            absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(store_->Delete(kTalk).ok());
  EXPECT_EQ(second->Get(kTalk).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(second->List(kDefaultTenant, "", 10)->sessions.size(), 2);
}

TEST_F(DirectoryTest, TheFasterServerWins) {
  const auto second = Open();
  auto slow = store_->BeginTurn(kTalk);
  ASSERT_TRUE(slow.ok());
  ASSERT_TRUE(RunTurn(*second, kTalk, text_, {1, 2, 3}).ok());
  const auto info = (*slow)->Commit({4}, {});
  EXPECT_EQ(info.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(info.status().message()), HasSubstr("another server"));
  testing::ExpectTurnOf(**store_->BeginTurn(kTalk), text_);
}

TEST_F(DirectoryTest, AStartDoesNotDisturbAServerAtWork) {
  auto turn = store_->BeginTurn(kTalk);
  const auto second = Open();
  EXPECT_EQ(CountFiles(dir_, ".session"), 2);
  ASSERT_TRUE((*turn)->Commit({4}, {}).ok());
  text_.push_back(4);
  testing::ExpectTurnOf(**second->BeginTurn(kTalk), text_);
}

TEST_F(DirectoryTest, AFullDiskCostsDurabilityOnly) {
  for (const rlim_t bytes : {0, 60, 110}) {
    SCOPED_TRACE(bytes);
    const int64_t files = CountFiles(dir_, "");
    const Text saved = text_;
    {
      const testing::FullDisk full(bytes);
      for (int i = 0; i < 12; ++i) {
        const auto info = RunTurn(*store_, kTalk, text_, {1, 2});
        ASSERT_TRUE(info.ok()) << info.status();
        EXPECT_FALSE(info->durable);
      }
      EXPECT_FALSE(store_->Create({"full", "session"}, {})->durable);
      EXPECT_EQ(CountFiles(dir_, ""), files) << "nothing half written is left";
      // Another server sees what was saved before.
      testing::ExpectTurnOf(**Open()->BeginTurn(kTalk), saved);
    }
    // The next change saves everything.
    EXPECT_TRUE(RunTurn(*store_, kTalk, text_, {3})->durable);
    ASSERT_TRUE(store_->Delete({"full", "session"}).ok());
    int64_t states = 0;
    const auto page = store_->List(kDefaultTenant, "", 10);
    ASSERT_TRUE(page.ok());
    for (const SessionInfo& info : page->sessions) {
      states += std::ssize(info.rewind_points);
    }
    EXPECT_EQ(CountFiles(dir_, ".state"), states) << "nor is what was given up meanwhile";
    testing::ExpectTurnOf(**Open()->BeginTurn(kTalk), text_);
  }
}

TEST_F(DirectoryTest, AForkOnAFullDiskOutlivesItsParent) {
  const auto children = [this] {
    const testing::FullDisk full(0);
    return store_->Fork(kTalk, 2);
  }();
  ASSERT_TRUE(children.ok()) << children.status();
  EXPECT_FALSE(children->front().durable);
  ASSERT_TRUE(store_->Delete(kTalk).ok());
  const SessionName child{kDefaultTenant, children->front().id};
  EXPECT_TRUE(RunTurn(*store_, child, text_, {1, 2})->durable);
  testing::ExpectTurnOf(**Open()->BeginTurn(child), text_);
}

TEST_F(DirectoryTest, AForkOnAFullDiskTakesItsStatesIntoMemory) {
  store_.reset();
  store_ = OpenStore({.dir = dir_, .memory_bytes = 0});
  EXPECT_EQ(store_->Stats().memory_bytes, 0);
  const auto children = [this] {
    const testing::FullDisk full(0);
    return store_->Fork(kTalk, 1);
  }();
  ASSERT_TRUE(children.ok()) << children.status();
  const SessionName child{kDefaultTenant, children->front().id};
  EXPECT_FALSE(children->front().durable);
  // The parent leaves memory, and then is deleted.
  testing::ExpectTurnOf(**store_->BeginTurn(kTalk), text_);
  testing::ExpectTurnOf(**store_->BeginTurn(child), text_);
  ASSERT_TRUE(store_->Delete(kTalk).ok());
  testing::ExpectTurnOf(**store_->BeginTurn(child), text_);
  EXPECT_TRUE(RunTurn(*store_, child, text_, {1, 2})->durable);
  testing::ExpectTurnOf(**Open()->BeginTurn(child), text_);
}

TEST(DirectoryOpenTest, AFolderThatCannotBeMadeIsNamed) {
  const TempFolder folder;
  ASSERT_TRUE(WriteFile(folder.path() / "file", "x"));
  const auto store = SessionStore::Open(testing::FakeModel(),
                                        {.dir = folder.path() / "file" / "sessions"}, nullptr);
  EXPECT_EQ(store.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(store.status().message()), HasSubstr("file/sessions"));
}

}  // namespace
}  // namespace fmaserver::sessions
