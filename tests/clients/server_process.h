// fma-server as a child process of a test.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tests/clients/process.h"

namespace fmaserver::testing {

/// Serves `model` on a free port of this machine with `flags`. The constructor returns when the
/// server listens; if it does not, the test fails.
class ServerProcess {
 public:
  explicit ServerProcess(const std::filesystem::path& model,
                         const std::vector<std::string>& flags = {});

  /// HOST:PORT
  const std::string& address() const { return address_; }
  Process& process() { return process_; }

 private:
  Process process_;
  std::string address_;
};

}  // namespace fmaserver::testing
