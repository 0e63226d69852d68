// A disk that cannot bring back what it was given.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>

#include "gtest/gtest.h"

namespace fmaserver::testing {

/// The contents of the files that this process has open in `folder` are gone: to touch a page of
/// them where they are mapped fails as a broken disk does, with SIGBUS.
inline void LoseFilesIn(const std::filesystem::path& folder) {
  int lost = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const std::filesystem::path file = std::filesystem::read_symlink(entry.path(), error);
    if (error || !file.string().starts_with(folder.string() + "/")) continue;
    lost += ftruncate(std::stoi(entry.path().filename()), 0) == 0 ? 1 : 0;
  }
  EXPECT_GT(lost, 0) << "no file is open in " << folder;
}

}  // namespace fmaserver::testing
