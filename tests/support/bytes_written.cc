#include "tests/support/bytes_written.h"

#include <fstream>
#include <string>

namespace fmaserver::testing {

int64_t BytesWritten() {
  std::ifstream io("/proc/self/io");
  std::string name;
  int64_t bytes = -1;
  while (io >> name >> bytes && name != "wchar:") continue;
  return bytes;
}

}  // namespace fmaserver::testing
