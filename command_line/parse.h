// A program's command line, from its arguments to options that hold or an exit code.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>

namespace fmaserver {

/// Fills the options of `app`. Absent: go on. Else the exit code to end with: 0 when help was
/// printed, kWrongUsage (exit_code.h) when standard error says what is wrong.
std::optional<int> ParseCommandLine(CLI::App& app, int argc, char** argv);

}  // namespace fmaserver
