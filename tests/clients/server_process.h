// fma-server as a child process of a test.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tests/clients/process.h"

namespace fmaserver::testing {

/// Serves `model` on a free port of this machine with `flags`. Constructed when it listens, or has
/// failed to, which fails the test.
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
