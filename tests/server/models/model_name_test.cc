#include "server/models/model_name.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/names.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

using models::MakeSource;
using models::ParseSource;

TEST(ModelNameTest, AModelIsCalledAfterItsFolder) {
  EXPECT_EQ(ParseSource("models/tiny")->name, "tiny");
  EXPECT_EQ(ParseSource("/a=b/fma.v2")->name, "fma_v2");
  EXPECT_EQ(ParseSource("/a=b/fma.v2")->folder, "/a=b/fma.v2");
  EXPECT_EQ(ParseSource("/")->name, "model");
}

TEST(ModelNameTest, FoldersOfAnyBytesGiveNames) {
  const TempFolder folder;
  const std::filesystem::path latin1 = folder.path() /
                                       "b\xfc"
                                       "cher";
  std::filesystem::create_directory(latin1);
  EXPECT_EQ(ParseSource(latin1.string())->name, "b_cher");
  EXPECT_EQ(ParseSource(latin1.string() + "/")->name, "b_cher");
  const std::string longest = ParseSource(folder.path() / std::string(200, 'x'))->name;
  EXPECT_EQ(longest, std::string(kMaxNameChars, 'x'));
}

TEST(ModelNameTest, ANameCanBeSaid) {
  EXPECT_EQ(ParseSource("chat=models/tiny")->name, "chat");
  EXPECT_EQ(ParseSource("chat=models/tiny")->folder, "models/tiny");
  EXPECT_EQ(MakeSource("chat", "models/tiny")->name, "chat");
}

TEST(ModelNameTest, TheFirstNameIsReportedAndTheOthersAreAliases) {
  const auto plain = ParseSource("models/tiny", {"chat", "gpt-3.5", "org/chat:7b"});
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_EQ(plain->name, "chat");
  EXPECT_EQ(plain->aliases, (std::vector<std::string>{"gpt-3.5", "org/chat:7b"}));
  const auto named = ParseSource("own=models/tiny", {"chat"});
  EXPECT_EQ(named->name, "own");
  EXPECT_EQ(named->folder, "models/tiny");
  EXPECT_EQ(named->aliases, std::vector<std::string>{"chat"});
  EXPECT_TRUE(ParseSource("models/tiny")->aliases.empty());
  EXPECT_EQ(ParseSource("tiny", {"a/b"}).status().message(),
            "name is \"a/b\"; allowed: 1 to 64 of A-Z a-z 0-9 _ and -");
  for (const std::string& alias :
       std::vector<std::string>{"", "a b", "a\n", std::string(65, 'x')}) {
    EXPECT_EQ(ParseSource("tiny", {"a", alias}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(ModelNameTest, BadOnesAreRefused) {
  EXPECT_EQ(ParseSource("chat=").status().message(),
            "folder is missing; allowed: a checkpoint folder");
  EXPECT_EQ(MakeSource("my model", "models/tiny").status().message(),
            "name is \"my model\"; allowed: 1 to 64 of A-Z a-z 0-9 _ and -");
  EXPECT_EQ(MakeSource("", "").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace fmaserver::testing
