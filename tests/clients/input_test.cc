#include "clients/cpp/input.h"

#include <string>

#include "gtest/gtest.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

absl::StatusOr<std::string> ReadFrom(const std::string& file) {
  return client::ReadText({.text = {}, .file = file, .token_ids = {}});
}

TEST(InputTest, AFileIsReadWhole) {
  const TempFolder folder;
  const std::string file = folder.path() / "prompt.txt";
  const std::string text(300'000, 'x');
  ASSERT_TRUE(WriteFile(file, text));
  EXPECT_EQ(*ReadFrom(file), text);
}

TEST(InputTest, WhatCannotBeReadIsNamedWithTheReason) {
  const TempFolder folder;
  EXPECT_EQ(ReadFrom("/no/such/file").status().message(),
            "--prompt-file: /no/such/file: No such file or directory");
  EXPECT_EQ(ReadFrom(folder.path()).status().message(),
            "--prompt-file: " + folder.path().string() + ": Is a directory");
}

}  // namespace
}  // namespace fmaserver::testing
