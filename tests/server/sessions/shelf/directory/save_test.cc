// A disk whose fsync fails. The test replaces fsync, so it is a program by itself.
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>

#include "gtest/gtest.h"
#include "tests/server/sessions/fake_states.h"
#include "tests/support/temp_folder.h"

namespace {

std::atomic<int> folders_to_sync = -1;  // syncs until one fails; negative: none fails

bool IsFolder(int file) {
  struct stat info;
  return fstat(file, &info) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace

extern "C" int fsync(int file) {
  if (IsFolder(file) && folders_to_sync >= 0 && folders_to_sync-- == 0) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(syscall(SYS_fsync, file));
}

namespace fmaserver::sessions {
namespace {

namespace fs = std::filesystem;
using testing::CountFiles;
using testing::kTalk;
using testing::NextTokens;
using testing::OpenStore;
using testing::RunTurn;
using testing::TempFolder;
using testing::Text;

TEST(SaveTest, AfterACrashAnOldRecordFindsItsStates) {
  const TempFolder folder;
  const SessionOptions options{.dir = folder.path() / "s", .rewind_points = 0};
  const fs::path record = folder.path() / "s" / kDefaultTenant / "talk.session";
  Text text;
  auto store = OpenStore(options);
  ASSERT_TRUE(store->Create(kTalk, {}).ok());
  ASSERT_TRUE(RunTurn(*store, kTalk, text, NextTokens(text, 9, 1)).ok());
  const std::string old_record = testing::ReadFile(record);
  const Text old_text = text;
  // The parts are synced, but then the sync of the record's name fails.
  folders_to_sync = 1;
  const auto info = RunTurn(*store, kTalk, text, NextTokens(text, 9, 1));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_FALSE(info->durable);
  EXPECT_EQ(CountFiles(folder.path(), ".state"), 2);
  store.reset();
  ASSERT_TRUE(testing::WriteFile(record, old_record));
  testing::ExpectTurnOf(**OpenStore(options)->BeginTurn(kTalk), old_text);
}

TEST(SaveTest, WhatWasKeptForSafetyGoesWithTheNextSave) {
  const TempFolder folder;
  const SessionOptions options{.dir = folder.path() / "s", .rewind_points = 0};
  Text text;
  const auto store = OpenStore(options);
  ASSERT_TRUE(store->Create(kTalk, {}).ok());
  ASSERT_TRUE(RunTurn(*store, kTalk, text, NextTokens(text, 9, 1)).ok());
  folders_to_sync = 1;
  EXPECT_FALSE(RunTurn(*store, kTalk, text, NextTokens(text, 9, 1))->durable);
  EXPECT_TRUE(RunTurn(*store, kTalk, text, NextTokens(text, 9, 1))->durable);
  EXPECT_EQ(CountFiles(folder.path(), ".state"), 1);
  testing::ExpectTurnOf(**OpenStore(options)->BeginTurn(kTalk), text);
}

}  // namespace
}  // namespace fmaserver::sessions
