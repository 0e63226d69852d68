#include "base/file_descriptor.h"

#include <unistd.h>

namespace fmaserver {

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace fmaserver
