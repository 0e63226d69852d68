#include "command_line/parse.h"

#include <cstdio>
#include <sstream>

#include "command_line/exit_code.h"
#include "command_line/output.h"

namespace fmaserver {

std::optional<int> ParseCommandLine(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    std::ostringstream output;
    std::ostringstream errors;
    const int code = app.exit(error, output, errors);
    std::fputs(errors.str().c_str(), stderr);
    if (code != 0) return kWrongUsage;
    WriteOutput(output.str());
    return FinishOutput(0);
  }
}

}  // namespace fmaserver
