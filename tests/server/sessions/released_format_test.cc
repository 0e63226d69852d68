// Directories and blobs of the first release are still read. tests/data/sessions/version1 was
// written by it, with the states of fake_states.h.
#include <filesystem>

#include "gtest/gtest.h"
#include "tests/server/sessions/fake_states.h"
#include "tests/support/paths.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::sessions {
namespace {

namespace fs = std::filesystem;
using testing::NextTokens;
using testing::OpenStore;
using testing::TempFolder;
using testing::Text;

fs::path Released() { return testing::SourceDir() / "tests/data/sessions/version1"; }

Text Talk() {
  Text text = NextTokens({}, 20, 3);
  const Text more = NextTokens(text, 7, 3);
  text.insert(text.end(), more.begin(), more.end());
  return text;
}

class ReleasedFormatTest : public ::testing::Test {
 protected:
  ReleasedFormatTest() {
    fs::copy(Released() / "directory", folder_.path(), fs::copy_options::recursive);
    store_ = OpenStore({.dir = folder_.path()});
  }

  TempFolder folder_;
  std::unique_ptr<SessionStore> store_;
};

TEST_F(ReleasedFormatTest, SessionsAndTheirForksGoOn) {
  const auto page = store_->List(kDefaultTenant, "", 10);
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->sessions.size(), 2);
  EXPECT_EQ(page->sessions.front().ttl_seconds, 77);
  EXPECT_TRUE(page->sessions.front().pinned);
  EXPECT_EQ(page->sessions.front().rewind_points, (std::vector<int64_t>{4, 9, 19, 26}));
  for (const SessionInfo& info : page->sessions) {
    const SessionName name{kDefaultTenant, info.id};
    Text text = Talk();
    testing::ExpectTurnOf(**store_->BeginTurn(name), text);
    EXPECT_TRUE(testing::RunTurn(*store_, name, text, NextTokens(text, 5, 3))->durable);
    ASSERT_TRUE(store_->Rewind(name, 10).ok());
    testing::ExpectTurnOf(**store_->BeginTurn(name), Text(text.begin(), text.begin() + 10));
  }
}

TEST_F(ReleasedFormatTest, AnInterruptedTurnIsTakenUp) {
  const auto info = store_->Get({"alice", "cut"});
  ASSERT_TRUE(info.ok()) << info.status();
  const auto resumed = store_->BeginResume("alice", info->resume_token);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(resumed->record.request, "released request");
  EXPECT_EQ(resumed->record.format, RequestFormat::kApiMessage);
  EXPECT_EQ(resumed->record.seed, 42);
  EXPECT_EQ(resumed->generated.size(), 3);
}

TEST_F(ReleasedFormatTest, ABlobIsImported) {
  const std::string blob = testing::ReadFile(Released() / "blob");
  const auto info = testing::ImportAll(*store_, {"bob", "copy"}, blob, 100);
  ASSERT_TRUE(info.ok()) << info.status();
  testing::ExpectTurnOf(**store_->BeginTurn({"bob", "copy"}), Talk());
}

// This lets servers of the previous release share the directory.
TEST_F(ReleasedFormatTest, WhatNeedsNothingNewIsWrittenAsBefore) {
  Text text = Talk();
  ASSERT_TRUE(testing::RunTurn(*store_, {kDefaultTenant, "talk"}, text, {1, 2}).ok());
  for (const auto& entry : fs::recursive_directory_iterator(folder_.path())) {
    const std::string bytes = testing::ReadFile(entry.path());
    if (bytes.starts_with("FMASESS\n")) {
      EXPECT_EQ(bytes.at(8), 1) << entry.path();
    }
  }
}

}  // namespace
}  // namespace fmaserver::sessions
