#include "kernels/cpu/read_ahead.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace fmaserver::kernels::cpu {
namespace {

/// A file on a disk, mapped into memory; none of its pages is there to begin with.
class ReadAheadTest : public ::testing::Test {
 protected:
  static constexpr int64_t kPages = 16;

  void SetUp() override {
    std::string name = ::testing::TempDir() + "/read_ahead.XXXXXX";
    file_ = mkostemp(name.data(), O_CLOEXEC);
    ASSERT_GE(file_, 0);
    unlink(name.c_str());
    const std::vector<char> ones(kPages * page_, 1);
    ASSERT_EQ(write(file_, ones.data(), ones.size()), std::ssize(ones));
    ASSERT_EQ(fsync(file_), 0);
    void* const map = mmap(nullptr, ones.size(), PROT_READ, MAP_SHARED, file_, 0);
    ASSERT_NE(map, MAP_FAILED);
    bytes_ = {static_cast<const std::byte*>(map), ones.size()};
    madvise(map, ones.size(), MADV_RANDOM);
    posix_fadvise(file_, 0, 0, POSIX_FADV_DONTNEED);
    if (Present() > 0) GTEST_SKIP() << "files of this folder stay in memory";
  }
  void TearDown() override {
    if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
    close(file_);
  }

  /// How many of the pages are in memory.
  int64_t Present() const {
    std::vector<unsigned char> pages(kPages);
    mincore(const_cast<std::byte*>(bytes_.data()), bytes_.size(), pages.data());
    return std::ranges::count_if(pages, [](unsigned char page) { return (page & 1) != 0; });
  }

  const int64_t page_ = sysconf(_SC_PAGESIZE);
  int file_ = -1;
  std::span<const std::byte> bytes_;
};

TEST_F(ReadAheadTest, BringsThePagesThatItIsAskedFor) {
  // From inside the second page to inside the fourth.
  ReadAhead::Ask(bytes_.subspan(page_ + 1, 2 * page_));
  for (int i = 0; i < 1000 && Present() < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_GE(Present(), 3);  // file systems may read larger pieces
}

TEST_F(ReadAheadTest, PaysOnceTheThreadHasWaitedForAPage) {
  ReadAhead ahead;
  for (int i = 0; i < 5000 && (ahead.Pays() || i == 0); ++i) continue;
  EXPECT_FALSE(ahead.Pays());
  const std::byte first = *static_cast<const volatile std::byte*>(bytes_.data());
  EXPECT_EQ(first, std::byte{1});
  EXPECT_TRUE(ahead.Pays());
}

}  // namespace
}  // namespace fmaserver::kernels::cpu
