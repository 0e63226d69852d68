// Where tests find the source tree and the programs: in this build or, when tests run on another
// machine (scripts/gpu-bundle), where the environment says.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace fmaserver::testing {

inline std::filesystem::path SourceDir() {
  const char* elsewhere = std::getenv("FMA_SOURCE_DIR");
  return elsewhere != nullptr ? elsewhere : FMA_SOURCE_DIR;
}

inline std::filesystem::path BinDir() {
  const char* elsewhere = std::getenv("FMA_BIN_DIR");
  return elsewhere != nullptr ? elsewhere : FMA_BIN_DIR;
}

}  // namespace fmaserver::testing
