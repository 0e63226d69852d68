#include "tests/clients/tool_fixture.h"

#include <sstream>

#include "tests/server/rpc/test_server.h"
#include "tests/support/checkpoint_builder.h"

namespace fmaserver::testing {

std::string BinFolder() { return FMA_BIN_DIR; }

std::vector<nlohmann::json> ToolResult::Lines() const {
  std::vector<nlohmann::json> lines;
  std::istringstream stream(output);
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false));
    EXPECT_TRUE(lines.back().is_object()) << line;
  }
  return lines;
}

void ToolTest::SetUp() {
  const auto model = folder_.path() / "tiny";
  ASSERT_TRUE(WriteRandomCheckpoint(ByteModelConfig(), 1, kernels::WeightFormat::kF32, model).ok());
  server_ = std::make_unique<ServerProcess>(
      model, std::vector<std::string>{"--slots", "2", "--threads", "1", "--drain-seconds", "0.2"});
  address_ = server_->address();
}

std::vector<std::string> ToolTest::Command(std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), BinFolder() + "/fma");
  arguments.insert(arguments.end(), {"--server", address_});
  return arguments;
}

ToolResult ToolTest::Run(const std::vector<std::string>& arguments,
                         const std::string& input) const {
  const std::string file = (folder_.path() / "input").string();
  EXPECT_TRUE(WriteFile(file, input));
  Process process(Command(arguments), file);
  const int exit_code = process.Wait();
  return {.exit_code = exit_code, .output = process.Output(), .errors = process.Errors()};
}

}  // namespace fmaserver::testing
