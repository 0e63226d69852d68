// The subcommands of the `fma` tool. Each adds its options to the parser; when chosen, it stores in
// `run` what main() is to call after parsing, which returns the exit code.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace fmaserver::client {

using RunCommand = std::function<int()>;

/// All of them, and what --help says of the tool.
void AddCommands(CLI::App& app, RunCommand& run);

void AddGenerateCommand(CLI::App& app, RunCommand& run);
void AddChatCommand(CLI::App& app, RunCommand& run);
void AddScoreCommand(CLI::App& app, RunCommand& run);
void AddEmbedCommand(CLI::App& app, RunCommand& run);
void AddFillMaskCommand(CLI::App& app, RunCommand& run);
void AddTokenizeCommand(CLI::App& app, RunCommand& run);
void AddDetokenizeCommand(CLI::App& app, RunCommand& run);
void AddModelsCommand(CLI::App& app, RunCommand& run);
void AddHealthCommand(CLI::App& app, RunCommand& run);
void AddSessionsCommand(CLI::App& app, RunCommand& run);
void AddAdminCommand(CLI::App& app, RunCommand& run);

}  // namespace fmaserver::client
