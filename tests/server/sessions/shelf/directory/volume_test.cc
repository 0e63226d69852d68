// Archives in a session directory: what a turn and a fork cost, and what happens to volumes.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/sessions/shelf/directory/directory_shelf.h"
#include "tests/server/sessions/fake_states.h"
#include "tests/support/bytes_written.h"
#include "tests/support/full_disk.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::sessions {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::kTalk;
using testing::NextTokens;
using testing::OpenStore;
using testing::ReadFile;
using testing::RunArchivedTurn;
using testing::TempFolder;
using testing::Text;

class VolumeTest : public ::testing::Test {
 protected:
  VolumeTest() : store_(Open()) { EXPECT_TRUE(store_->Create(kTalk, {}).ok()); }

  SessionOptions Options() const { return {.dir = dir_, .rewind_points = 3, .log_tokens = 16}; }
  std::unique_ptr<SessionStore> Open() { return OpenStore(Options()); }
  void Reopen() {
    store_.reset();
    store_ = Open();
  }

  /// A turn of two chunks.
  SessionInfo Turn(SessionStore& store, const SessionName& name, Text& text, int32_t salt = 1) {
    const auto info = RunArchivedTurn(store, name, text, NextTokens(text, 10, salt));
    EXPECT_TRUE(info.ok()) << info.status();
    return info.ok() ? *info : SessionInfo();
  }
  SessionInfo Turn() { return Turn(*store_, kTalk, text_); }

  /// The volumes of a session, each with its size.
  std::map<fs::path, int64_t> Volumes(const std::string& session = kTalk.id) const {
    std::map<fs::path, int64_t> volumes;
    for (const auto& entry : fs::directory_iterator(dir_ / kDefaultTenant)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with(session + ".") || !name.ends_with(".chunks")) continue;
      volumes[entry.path()] = static_cast<int64_t>(entry.file_size());
    }
    return volumes;
  }

  void ExpectTurn(SessionStore& store, const SessionName& name, const Text& text) {
    const auto turn = store.BeginTurn(name);
    ASSERT_TRUE(turn.ok()) << turn.status();
    testing::ExpectTurnOf(**turn, text, /*archived=*/true);
  }

  TempFolder folder_;
  const fs::path dir_ = folder_.path() / "sessions";
  Text text_;
  std::unique_ptr<SessionStore> store_;
};

// Each adds two chunks; the rest is a slot and a record.
TEST_F(VolumeTest, Turn200WritesWhatTurn5Writes) {
  int64_t usual = 0;
  for (int turn = 1; turn <= 200; ++turn) {
    const int64_t before = testing::BytesWritten();
    Turn();
    const int64_t written = testing::BytesWritten() - before;
    if (turn == 5) usual = written;
    if (turn < 5) continue;
    ASSERT_NEAR(written, usual, 20) << turn;  // numbers get more digits
  }
  ASSERT_GT(usual, 2 * testing::kChunkBytes);
  ASSERT_LT(usual, 2'000);
  const auto volumes = Volumes();
  ASSERT_EQ(volumes.size(), 1U);
  EXPECT_EQ(volumes.begin()->second % (2'000 / 5 - 1), 0) << "nothing but its chunks";
  Reopen();
  ExpectTurn(*store_, kTalk, text_);
}

TEST_F(VolumeTest, AVolumeTakesNoMoreThanItMay) {
  SessionOptions options = Options();
  options.sweep_seconds = 0;
  auto shelf = DirectoryShelf::Open(dir_, testing::FakeModel(), /*volume_bytes=*/600);
  ASSERT_TRUE(shelf.ok()) << shelf.status();
  auto small = SessionStore::Open(testing::FakeModel(), options, *std::move(shelf), nullptr);
  ASSERT_TRUE(small.ok()) << small.status();
  for (int turn = 0; turn < 10; ++turn) Turn(**small, kTalk, text_);
  const auto volumes = Volumes();
  EXPECT_GT(volumes.size(), 4U);
  for (const auto& [file, bytes] : volumes) EXPECT_LT(bytes, 900) << file;
  EXPECT_EQ(RunArchivedTurn(**small, kTalk, text_, NextTokens(text_, 100, 1))->durable, true);
  Reopen();
  ExpectTurn(*store_, kTalk, text_);
}

// A link for each volume, however many chunks there are.
TEST_F(VolumeTest, ForksShareVolumesAndGoOnAlone) {
  for (int turn = 0; turn < 20; ++turn) Turn();
  const int64_t before = testing::BytesWritten();
  const auto forks = store_->Fork(kTalk, 100);
  ASSERT_TRUE(forks.ok()) << forks.status();
  EXPECT_LT(testing::BytesWritten() - before, 1'000) << "one record for all";
  const fs::path volume = Volumes().begin()->first;
  EXPECT_EQ(fs::hard_link_count(volume), 101U);
  const int64_t shared = Volumes().begin()->second;

  const SessionName child{kDefaultTenant, forks->front().id};
  Text child_text = text_;
  Turn(*store_, child, child_text, /*salt=*/2);
  Turn();
  EXPECT_EQ(Volumes().size(), 1U) << "the parent goes on in its own";
  EXPECT_GT(Volumes().begin()->second, shared);
  EXPECT_EQ(Volumes(child.id).size(), 2U) << "the child begins its own";
  Turn(*store_, child, child_text, /*salt=*/2);
  EXPECT_EQ(Volumes(child.id).size(), 2U);
  Reopen();
  ExpectTurn(*store_, kTalk, text_);
  ExpectTurn(*store_, child, child_text);
  ASSERT_TRUE(store_->Delete(kTalk).ok());
  EXPECT_EQ(Volumes().size(), 0U);
  ExpectTurn(*store_, child, child_text);
}

// A backup that knows no links, or a file system without them.
TEST_F(VolumeTest, CopiesOfAVolumeDoNotMeet) {
  Turn();
  const SessionName child{kDefaultTenant, store_->Fork(kTalk, 1)->front().id};
  store_.reset();
  fs::copy(dir_, folder_.path() / "copy", fs::copy_options::recursive);
  fs::remove_all(dir_);
  fs::rename(folder_.path() / "copy", dir_);
  store_ = Open();
  EXPECT_EQ(fs::hard_link_count(Volumes().begin()->first), 1U);
  Text child_text = text_;
  Turn(*store_, child, child_text, /*salt=*/2);
  Turn();
  // Both in memory, with chunks of the same tokens.
  ExpectTurn(*store_, child, child_text);
  ExpectTurn(*store_, kTalk, text_);
  Reopen();
  ExpectTurn(*store_, child, child_text);
  ExpectTurn(*store_, kTalk, text_);
}

// What a crash leaves belongs to nobody, and nothing is written behind it.
TEST_F(VolumeTest, ATailThatNoRecordListsIsIgnored) {
  Turn();
  store_.reset();
  const fs::path volume = Volumes().begin()->first;
  std::ofstream(volume, std::ios::app | std::ios::binary) << std::string(70, 'x');
  const auto size = fs::file_size(volume);
  store_ = Open();
  ExpectTurn(*store_, kTalk, text_);
  Turn();
  EXPECT_EQ(Volumes().size(), 2U);
  EXPECT_EQ(fs::file_size(volume), size);
  Reopen();
  ExpectTurn(*store_, kTalk, text_);
}

// A server that still has the chunks that another server has rewound must not take its new ones for
// them.
TEST_F(VolumeTest, ANumberNeverGetsOtherBytes) {
  const auto other = Open();
  Turn();
  const int64_t first_turn = std::ssize(text_);
  Turn();
  ExpectTurn(*other, kTalk, text_);
  ExpectTurn(*store_, kTalk, text_);
  ASSERT_TRUE(other->Rewind(kTalk, first_turn).ok());
  text_.resize(static_cast<size_t>(first_turn));
  Turn(*other, kTalk, text_, /*salt=*/7);
  ExpectTurn(*store_, kTalk, text_);
}

TEST_F(VolumeTest, TwoServersTakeTurns) {
  const auto other = Open();
  for (int turn = 0; turn < 6; ++turn) Turn(turn % 2 == 0 ? *store_ : *other, kTalk, text_);
  EXPECT_EQ(Volumes().size(), 1U);
  ExpectTurn(*store_, kTalk, text_);
}

// The slower server's chunks are gone with its turn.
TEST_F(VolumeTest, TheFasterServerWins) {
  Turn();
  const auto other = Open();
  auto slow = store_->BeginTurn(kTalk);
  ASSERT_TRUE(slow.ok());
  Turn(*other, kTalk, text_);
  const auto volumes = Volumes();
  const Text wrong = NextTokens(text_, 10, 9);
  const auto lost = (*slow)->Commit(wrong, testing::ArchivedAfter(text_, 15, {}));
  EXPECT_EQ(lost.status().code(), absl::StatusCode::kAborted) << lost.status();
  EXPECT_EQ(Volumes(), volumes);
  ExpectTurn(*store_, kTalk, text_);
}

TEST_F(VolumeTest, AFullDiskLeavesNoTail) {
  for (int turn = 0; turn < 5; ++turn) Turn();  // the volume is longer than the other files
  const auto volumes = Volumes();
  {
    const testing::FullDisk full(static_cast<rlim_t>(volumes.begin()->second) + 100);
    EXPECT_FALSE(Turn().durable);
    EXPECT_EQ(Volumes(), volumes);
  }
  EXPECT_TRUE(Turn().durable);
  EXPECT_EQ(Volumes().size(), 1U);
  Reopen();
  ExpectTurn(*store_, kTalk, text_);
}

TEST_F(VolumeTest, ADamagedChunkIsNamedAndTheOthersStay) {
  Turn();
  const int64_t first_turn = std::ssize(text_);
  Turn();
  store_.reset();
  const fs::path volume = Volumes().begin()->first;
  const std::string sound = ReadFile(volume);
  const size_t chunk = sound.size() / (text_.size() / testing::kChunkTokens);
  for (size_t at = 0; at < chunk; at += 7) {
    std::string damaged = sound;
    damaged[sound.size() - chunk + at] ^= 1;
    ASSERT_TRUE(testing::WriteFile(volume, damaged));
    const auto store = Open();
    for (int attempt = 0; attempt < 2; ++attempt) {
      const auto turn = store->BeginTurn(kTalk);
      EXPECT_EQ(turn.status().code(), absl::StatusCode::kDataLoss) << turn.status();
      EXPECT_THAT(std::string(turn.status().message()), HasSubstr(volume.string()));
    }
  }
  ASSERT_TRUE(testing::WriteFile(volume, sound.substr(0, sound.size() - 5)));
  store_ = Open();
  EXPECT_EQ(store_->BeginTurn(kTalk).status().code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(store_->Rewind(kTalk, first_turn).ok());
  text_.resize(static_cast<size_t>(first_turn));
  ExpectTurn(*store_, kTalk, text_);
}

// Builds that were never released listed every chunk.
TEST_F(VolumeTest, TheLayoutBeforeIsRefusedByItsVersion) {
  Turn();
  store_.reset();
  const fs::path record = dir_ / kDefaultTenant / "talk.session";
  std::string bytes = ReadFile(record);
  ASSERT_EQ(bytes[8], 3);
  bytes[8] = 2;
  const auto header_bytes = static_cast<size_t>(static_cast<unsigned char>(bytes[12])) +
                            (static_cast<size_t>(static_cast<unsigned char>(bytes[13])) << 8);
  const std::string digest = Sha256Of(bytes.substr(0, 16 + header_bytes));
  bytes.replace(16 + header_bytes, digest.size(), digest);
  ASSERT_TRUE(testing::WriteFile(record, bytes));
  const auto volumes = Volumes();
  store_ = Open();
  const absl::Status status = store_->Get(kTalk).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("format version is 2; allowed: 1 or 3 to 5"));
  EXPECT_EQ(Volumes(), volumes) << "left alone";
}

}  // namespace
}  // namespace fmaserver::sessions
