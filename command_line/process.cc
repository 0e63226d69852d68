#include "command_line/process.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <initializer_list>

namespace fmaserver {

void PrepareProcess() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest free one is this one. It can do the opposite of what it is for, and nothing else.
    const int mode = descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY;
    if (open("/dev/null", mode) != descriptor) std::_Exit(EXIT_FAILURE);
  }
}

namespace {

/// The loader calls what stands in this section of a program before any constructor.
[[gnu::section(".preinit_array"),
  gnu::used]] void (*const g_before_constructors)() = PrepareProcess;

}  // namespace

}  // namespace fmaserver
