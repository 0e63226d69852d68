// fma sessions, and fma generate with a session, against a real server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/clients/process.h"
#include "tests/clients/tool_fixture.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class SessionsToolTest : public ToolTest {
 protected:
  /// Runs `fma sessions` with --json; every line is a session.
  std::vector<json> Sessions(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "sessions");
    arguments.emplace_back("--json");
    const Result result = Run(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return result.Lines();
  }

  std::string Turn(const std::string& id, const std::string& text) const {
    const Result result = Run({"generate", text, "--session", id, "-n", "5", "--temperature", "0"});
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return result.output;
  }
};

TEST_F(SessionsToolTest, TurnsGoOnWhereTheLastOneEnded) {
  EXPECT_EQ(Sessions({"create", "story", "--ttl", "50"})[0]["ttl_seconds"], 50);
  const std::string first = Turn("story", "hi");
  const std::string second = Turn("story", "and");
  // Bytes are tokens, and one prompt with the whole text gives the same answer.
  const std::string ids = Run({"generate", "hi", "-n", "5", "--temperature", "0", "--json"}).output;
  json tokens = {'h', 'i'};
  for (const json& line : Result{.exit_code = 0, .output = ids, .errors = {}}.Lines()) {
    if (line["event"] == "delta")
      tokens.insert(tokens.end(), line["token_ids"].begin(), line["token_ids"].end());
  }
  for (const char byte : std::string("and")) tokens.push_back(byte);
  const Result whole =
      Run({"generate", "--token-ids", tokens.dump(), "-n", "5", "--temperature", "0"});
  EXPECT_EQ(second, whole.output);
  EXPECT_NE(first, second);

  const json shown = Sessions({"show", "story"})[0];
  EXPECT_EQ(shown["tokens"], 15);
  EXPECT_THAT(Run({"sessions", "show", "story"}).output,
              AllOf(HasSubstr("story"), HasSubstr("15"), HasSubstr("rewind points")));
  const json finished = Run({"generate", "--session", "story", "-n", "1", "--json"}).Lines().back();
  EXPECT_EQ(finished["session"]["tokens"], 16) << "a turn without anything new";
}

TEST_F(SessionsToolTest, ForksRewindsUpdatesAndDeletes) {
  Sessions({"create", "a"});
  Turn("a", "some text");
  const auto children = Sessions({"fork", "a", "--children", "2"});
  ASSERT_EQ(children.size(), 2U);
  const std::string child = children[1]["session_id"];
  EXPECT_EQ(Turn(child, "x"), Turn("a", "x"));
  EXPECT_EQ(Sessions({"list"}).size(), 3U);
  EXPECT_THAT(Run({"sessions", "list"}).output, AllOf(HasSubstr(child), HasSubstr("tokens")));

  EXPECT_EQ(Sessions({"rewind", "a", "4"})[0]["tokens"], 4);
  EXPECT_EQ(Sessions({"update", child, "--pin"})[0]["pinned"], true);
  EXPECT_EQ(Sessions({"update", child, "--unpin", "--ttl", "7"})[0]["ttl_seconds"], 7);
  EXPECT_EQ(Run({"sessions", "delete", child}).exit_code, 0);
  const Result gone = Run({"sessions", "show", child});
  EXPECT_EQ(gone.exit_code, 3);
  EXPECT_THAT(gone.errors, HasSubstr("NOT_FOUND"));
  EXPECT_THAT(Run({"sessions", "create", "a"}).errors, HasSubstr("ALREADY_EXISTS"));
}

TEST_F(SessionsToolTest, ExportedFilesBecomeTheSameSession) {
  Sessions({"create", "a"});
  Turn("a", "some text");
  const std::string file = (folder_.path() / "a.fma").string();
  EXPECT_EQ(Run({"sessions", "export", "a", file}).exit_code, 0);
  EXPECT_FALSE(std::filesystem::exists(file + ".part"));
  const std::string small = (folder_.path() / "small.fma").string();
  EXPECT_EQ(Run({"sessions", "export", "a", small, "--head-only"}).exit_code, 0);
  EXPECT_LE(std::filesystem::file_size(small), std::filesystem::file_size(file));

  const json copy = Sessions({"import", file, "b", "--pin"})[0];
  EXPECT_EQ(copy["session_id"], "b");
  EXPECT_EQ(copy["pinned"], true);
  EXPECT_EQ(Turn("b", "x"), Turn("a", "x"));

  std::string damaged = ReadFile(file);
  damaged[damaged.size() / 2] ^= 1;
  ASSERT_TRUE(WriteFile(file, damaged));
  const Result refused = Run({"sessions", "import", file, "c"});
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_THAT(refused.errors, HasSubstr("INVALID_ARGUMENT"));
}

TEST_F(SessionsToolTest, WhatFailsLeavesNothingBehind) {
  const std::string file = (folder_.path() / "none.fma").string();
  EXPECT_EQ(Run({"sessions", "export", "none", file}).exit_code, 3);
  EXPECT_FALSE(std::filesystem::exists(file));
  EXPECT_FALSE(std::filesystem::exists(file + ".part"));
  EXPECT_EQ(Run({"sessions", "export", "none", "/no/such/folder/x"}).exit_code, 2);
  EXPECT_EQ(Run({"sessions", "import", "/no/such/file"}).exit_code, 2);
  EXPECT_EQ(Run({"sessions"}).exit_code, 2);
  EXPECT_EQ(Run({"sessions", "update", "a", "--pin", "--unpin"}).exit_code, 2);
  EXPECT_EQ(Run({"generate", "hi", "--session", "none"}).exit_code, 3);
}

}  // namespace
}  // namespace fmaserver::testing
