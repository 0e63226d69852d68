#include "base/mapped_file.h"

#include <sys/stat.h>

#include <utility>

#include "gtest/gtest.h"
#include "tests/support/temp_folder.h"

namespace fmaserver {
namespace {

using testing::TempFolder;
using testing::WriteFile;

TEST(MappedFileTest, GivesTheBytesAndKeepsThemOverMoves) {
  const TempFolder folder;
  ASSERT_TRUE(WriteFile(folder.path() / "f", "abc"));
  auto file = MappedFile::Open(folder.path() / "f");
  ASSERT_TRUE(file.ok()) << file.status();
  const std::byte* data = file->bytes().data();
  MappedFile moved = *std::move(file);
  EXPECT_EQ(moved.bytes().data(), data);
  EXPECT_EQ(moved.bytes().size(), 3U);
  EXPECT_EQ(moved.bytes()[2], std::byte{'c'});
  moved = *MappedFile::Open(folder.path() / "f");
  EXPECT_EQ(moved.bytes()[0], std::byte{'a'});
}

TEST(MappedFileTest, AnEmptyFileHasNoBytes) {
  const TempFolder folder;
  ASSERT_TRUE(WriteFile(folder.path() / "f", ""));
  const auto file = MappedFile::Open(folder.path() / "f");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->bytes().empty());
}

TEST(MappedFileTest, RefusesWhatIsNoRegularFile) {
  const TempFolder folder;
  EXPECT_EQ(MappedFile::Open(folder.path()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MappedFile::Open(folder.path() / "none").status().code(), absl::StatusCode::kNotFound);
  ASSERT_EQ(mkfifo((folder.path() / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::Open(folder.path() / "fifo").status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace fmaserver
