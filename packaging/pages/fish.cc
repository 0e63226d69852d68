#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "packaging/pages/completion.h"

namespace fmaserver::pages {
namespace {

std::string Quoted(absl::string_view text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"'", "\\'"}}), "'");
}

/// When a completion holds: all names that lead to `command` were given, and none of its own.
std::string Condition(const Command& command, const std::vector<std::string>& path) {
  std::vector<std::string> conditions;
  conditions.reserve(path.size() + 1);
  for (const std::string& name : path) {
    conditions.push_back(absl::StrCat("__fish_seen_subcommand_from ", name));
  }
  std::string inner;
  for (const Command& next : command.commands) absl::StrAppend(&inner, " ", next.name);
  if (!inner.empty()) {
    conditions.push_back(absl::StrCat("not __fish_seen_subcommand_from", inner));
  }
  if (conditions.empty()) return "";
  return absl::StrCat(" -n ", Quoted(absl::StrJoin(conditions, "; and ")));
}

std::string Line(const Option& option, const std::string& start) {
  std::string line = start;
  for (const std::string& name : option.names) {
    const bool is_long = name.starts_with("--");
    absl::StrAppend(&line, is_long ? " -l " : " -s ", name.substr(is_long ? 2 : 1));
  }
  if (!option.value.empty()) absl::StrAppend(&line, option.TakesFile() ? " -rF" : " -x");
  if (option.TakesFolder()) absl::StrAppend(&line, " -a '(__fish_complete_directories)'");
  if (!option.choices.empty()) {
    absl::StrAppend(&line, " -a ", Quoted(absl::StrJoin(option.choices, " ")));
  }
  return absl::StrCat(line, " -d ", Quoted(option.help), "\n");
}

}  // namespace

std::string FishCompletion(const Command& program) {
  std::string text =
      absl::StrCat("# fish completion of ", program.name, ", made of its own options.\n");
  ForEach(program, [&](const Command& command, const std::vector<std::string>& path) {
    const std::string start = absl::StrCat("complete -c ", program.name, Condition(command, path));
    for (const Command& inner : command.commands) {
      absl::StrAppend(&text, start, " -f -a ", inner.name, " -d ", Quoted(inner.help), "\n");
    }
    for (const Option& option : command.options) {
      if (!option.positional) absl::StrAppend(&text, Line(option, start));
    }
  });
  return text;
}

}  // namespace fmaserver::pages
