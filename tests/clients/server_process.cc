#include "tests/clients/server_process.h"

#include <gtest/gtest.h>

#include "tests/server/rpc/test_server.h"

namespace fmaserver::testing {
namespace {

std::vector<std::string> Command(const std::filesystem::path& model,
                                 const std::vector<std::string>& flags) {
  std::vector<std::string> command = {std::string(FMA_BIN_DIR) + "/fma-server", "--model",
                                      model.string(), "--listen", "127.0.0.1:0"};
  command.insert(command.end(), flags.begin(), flags.end());
  return command;
}

}  // namespace

ServerProcess::ServerProcess(const std::filesystem::path& model,
                             const std::vector<std::string>& flags)
    : process_(Command(model, flags)) {
  const std::string marker = "port ";
  EXPECT_TRUE(Eventually([&] {
    const std::string log = process_.Output();
    const size_t at = log.find(marker, log.find("listening on"));
    const size_t end = log.find('\n', at);
    if (at == std::string::npos || end == std::string::npos) return false;
    address_ = "127.0.0.1:" + log.substr(at + marker.size(), end - at - marker.size());
    return true;
  })) << process_.Output()
      << process_.Errors();
}

}  // namespace fmaserver::testing
