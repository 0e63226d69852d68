#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "packaging/pages/completion.h"

namespace fmaserver::pages {
namespace {

/// As part of a specification of _arguments, within single quotes.
std::string Escaped(absl::string_view text) {
  return absl::StrReplaceAll(
      text, {{"'", "'\\''"}, {"[", "\\["}, {"]", "\\]"}, {":", "\\:"}, {"\\", "\\\\"}});
}

std::string ValuesOf(const Option& option) {
  if (option.TakesFile()) return "_files";
  if (option.TakesFolder()) return "_files -/";
  return option.choices.empty() ? " " : absl::StrCat("(", absl::StrJoin(option.choices, " "), ")");
}

/// "'--device[Where to compute]:auto|cpu:(auto cpu)'"; any may be given again.
void AddSpecifications(const Option& option, std::vector<std::string>& specifications) {
  for (const std::string& name : option.names) {
    std::string text = absl::StrCat("'*", name, "[", Escaped(option.help), "]");
    if (!option.value.empty()) {
      absl::StrAppend(&text, ":", Escaped(option.value), ":", ValuesOf(option));
    }
    specifications.push_back(absl::StrCat(text, "'"));
  }
}

std::string FunctionOf(const Command& program, const std::vector<std::string>& path) {
  std::string name = absl::StrCat("_", program.name);
  for (const std::string& word : path) absl::StrAppend(&name, "_", word);
  return name;
}

std::string CommandList(const Command& command) {
  std::vector<std::string> entries;
  for (const Command& inner : command.commands) {
    entries.push_back(absl::StrCat(inner.name, "\\:\"", Escaped(inner.help), "\""));
  }
  return absl::StrCat("'1:command:((", absl::StrJoin(entries, " "), "))'");
}

/// The function of one command, which calls those of its commands.
std::string Function(const Command& program, const Command& command,
                     const std::vector<std::string>& path) {
  std::vector<std::string> specifications;
  for (const Option& option : command.options) {
    if (!option.positional) AddSpecifications(option, specifications);
  }
  std::string after;
  if (!command.commands.empty()) {
    specifications.push_back(CommandList(command));
    specifications.emplace_back("'*::argument:->inner'");
    after = "  [[ $state == inner ]] || return\n  case $words[1] in\n";
    for (const Command& inner : command.commands) {
      std::vector<std::string> longer = path;
      longer.push_back(inner.name);
      absl::StrAppend(&after, "    ", inner.name, ") ", FunctionOf(program, longer), " ;;\n");
    }
    absl::StrAppend(&after, "  esac\n");
  } else {
    specifications.emplace_back("'*:argument:_files'");
  }
  return absl::StrCat(
      FunctionOf(program, path), "() {\n  local curcontext=$curcontext state line\n",
      "  _arguments -C \\\n    ", absl::StrJoin(specifications, " \\\n    "), "\n", after, "}\n\n");
}

}  // namespace

std::string ZshCompletion(const Command& program) {
  std::string text = absl::StrCat("#compdef ", program.name,
                                  "\n# zsh completion, made of the program's own options.\n\n");
  std::string functions;
  ForEach(program, [&](const Command& command, const std::vector<std::string>& path) {
    absl::StrAppend(&functions, Function(program, command, path));
  });
  return absl::StrCat(text, functions, FunctionOf(program, {}), " \"$@\"\n");
}

}  // namespace fmaserver::pages
