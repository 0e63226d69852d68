// The `fma` tool and a server with a small random model for it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/clients/server_process.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {

/// Where the programs are.
std::string BinFolder();

/// How a run of a program ended.
struct ToolResult {
  int exit_code = -1;
  std::string output;
  std::string errors;

  /// The output's JSON lines; one that is no object fails the test.
  std::vector<nlohmann::json> Lines() const;
};

class ToolTest : public ::testing::Test {
 protected:
  using Result = ToolResult;

  void SetUp() override;

  /// The command line of `fma` with these arguments, for the server.
  std::vector<std::string> Command(std::vector<std::string> arguments) const;

  /// Runs it with `input` on standard input.
  Result Run(const std::vector<std::string>& arguments, const std::string& input = "") const;

  TempFolder folder_;
  std::string address_;
  std::unique_ptr<ServerProcess> server_;
};

}  // namespace fmaserver::testing
