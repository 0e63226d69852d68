#include "command_line/output.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "command_line/exit_code.h"

namespace fmaserver {
namespace {

int g_error = 0;  // of the first write that failed

}  // namespace

bool WriteOutput(std::string_view text) {
  while (g_error == 0 && !text.empty()) {
    const ssize_t count = write(STDOUT_FILENO, text.data(), text.size());
    if (count >= 0) {
      text.remove_prefix(static_cast<size_t>(count));
    } else if (errno == EAGAIN) {
      // Whoever shares the terminal or pipe has made it non-blocking.
      pollfd output{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
      poll(&output, 1, -1);
    } else if (errno != EINTR) {
      g_error = errno;
    }
  }
  return g_error == 0;
}

int FinishOutput(int code) {
  if (g_error == 0 || g_error == EPIPE) return code;
  std::fprintf(stderr, "%s: standard output: %s\n", program_invocation_short_name,
               std::strerror(g_error));
  return code == 0 ? kOutputLost : code;
}

}  // namespace fmaserver
