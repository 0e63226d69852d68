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

/// The result of running a program.
struct ToolResult {
  int exit_code = -1;
  std::string output;
  std::string errors;

  /// The output's JSON lines; a line that is not an object fails the test.
  std::vector<nlohmann::json> Lines() const;
};

class ToolTest : public ::testing::Test {
 protected:
  using Result = ToolResult;

  void SetUp() override;

  /// The command line of `fma` with these arguments and the server's address.
  std::vector<std::string> Command(std::vector<std::string> arguments) const;

  /// Runs `fma` with `input` on standard input.
  Result Run(const std::vector<std::string>& arguments, const std::string& input = "") const;

  TempFolder folder_;
  std::string address_;
  std::unique_ptr<ServerProcess> server_;
};

}  // namespace fmaserver::testing
