// Standard output, of which no byte is lost in silence.
#pragma once

#include <string_view>

namespace fmaserver {

/// Writes to standard output at once. False when it cannot be written or nobody reads it any more,
/// now or at an earlier call.
bool WriteOutput(std::string_view text);

/// The exit code of a program that would end with `code`: kOutputLost (exit_code.h) in place of 0,
/// and a message on standard error, when output was lost. A reader that went away has what it
/// wanted.
int FinishOutput(int code);

}  // namespace fmaserver
