#include "base/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

TEST(FileTest, ReadsUpToTheLimit) {
  const TempFolder folder;
  const std::string bytes(200'000, 'x');
  ASSERT_TRUE(WriteFile(folder.path() / "f", bytes));
  const auto whole = ReadWholeFile(folder.path() / "f", bytes.size());
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(*whole, bytes);
  ExpectRefusal(ReadWholeFile(folder.path() / "f", bytes.size() - 1).status(),
                {"/f: size is more than 199999 bytes; allowed: at most 199999 bytes"});
}

TEST(FileTest, ReadsAnEmptyFileAndOneWhoseSizeNobodyKnows) {
  const TempFolder folder;
  ASSERT_TRUE(WriteFile(folder.path() / "f", ""));
  EXPECT_EQ(*ReadWholeFile(folder.path() / "f", 0), "");
  EXPECT_FALSE(ReadWholeFile("/proc/self/status", 1 << 20)->empty());
}

TEST(FileTest, RefusesWhatIsNoRegularFileWithoutWaiting) {
  const TempFolder folder;
  ASSERT_EQ(mkfifo((folder.path() / "fifo").c_str(), 0600), 0);
  ExpectRefusal(OpenRegularFile(folder.path() / "fifo").status(),
                {"/fifo is a FIFO; allowed: a regular file"});
  ExpectRefusal(OpenRegularFile(folder.path()).status(), {" is a folder; allowed: "});
  ExpectRefusal(OpenRegularFile("/dev/null").status(), {"/dev/null is a device; allowed: "});
}

TEST(FileTest, SaysWhyAFileCannotBeOpened) {
  const TempFolder folder;
  const absl::Status status = OpenRegularFile(folder.path() / "none").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), (folder.path() / "none").string() + ": No such file or directory");
}

TEST(FileTest, ReadsAPipeToItsEnd) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const FileDescriptor reading(ends[0]);
  {
    const FileDescriptor writing(ends[1]);
    ASSERT_EQ(write(writing.get(), "abc", 3), 3);
  }
  EXPECT_EQ(*ReadToEnd(reading.get(), "pipe", 3), "abc");
}

}  // namespace
}  // namespace fmaserver::testing
