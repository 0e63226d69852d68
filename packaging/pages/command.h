// What a program's command line offers, taken from CLI11: the one source of its man page and of
// what shells complete.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace fmaserver::pages {

struct Option {
  std::vector<std::string> names;    ///< "-n", "--max-tokens"; of a positional its one name
  std::string value;                 ///< what it takes, "FILE"; empty: nothing
  std::string allowed;               ///< of the value, "in [0 - 1024]"; empty: the help says it
  std::vector<std::string> choices;  ///< the values that can be listed
  std::string help;
  std::string group;
  std::string variable;       ///< of the environment; empty: none
  std::string default_value;  ///< empty: none that the program knows
  bool positional = false;
  bool required = false;

  bool TakesFile() const { return value == "FILE"; }
  bool TakesFolder() const { return value.ends_with("DIR"); }
};

struct Command {
  std::string name;
  std::string help;
  std::string footer;
  std::vector<Option> options;
  std::vector<Command> commands;
};

Command Describe(const CLI::App& app);

/// `visit` gets `command` and all below, each with the names that lead to it from the program on.
template <class Visit>
void ForEach(const Command& command, const Visit& visit, std::vector<std::string> path = {}) {
  visit(command, path);
  for (const Command& inner : command.commands) {
    std::vector<std::string> longer = path;
    longer.push_back(inner.name);
    ForEach(inner, visit, std::move(longer));
  }
}

}  // namespace fmaserver::pages
