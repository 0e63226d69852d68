#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "packaging/pages/completion.h"

namespace fmaserver::pages {
namespace {

/// Words that bash compares: "" for the program, "sessions create" for a command of it.
std::string Quoted(const std::vector<std::string>& words) {
  return absl::StrCat("\"", absl::StrJoin(words, " "), "\"");
}

std::string WordsAfter(const Command& command) {
  std::vector<std::string> words;
  for (const Command& inner : command.commands) words.push_back(inner.name);
  for (const Option& option : command.options) {
    if (!option.positional) words.insert(words.end(), option.names.begin(), option.names.end());
  }
  return absl::StrJoin(words, " ");
}

std::string Values(const Option& option) {
  if (option.TakesFile()) return "compgen -f -- \"$word\"";
  if (option.TakesFolder()) return "compgen -d -- \"$word\"";
  return absl::StrCat("compgen -W \"", absl::StrJoin(option.choices, " "), "\" -- \"$word\"");
}

constexpr char kTemplate[] = R"(# bash completion of $PROGRAM, made of its own options.
_$FUNCTION() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command="" given
  for given in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "${command:+$command }$given" in
      $COMMANDS) command=${command:+$command }$given ;;
    esac
  done
  case "$command|$before" in
$VALUES  esac
  case "$command" in
$WORDS  esac
}
complete -o bashdefault -o default -F _$FUNCTION $PROGRAM
)";

}  // namespace

std::string BashCompletion(const Command& program) {
  std::vector<std::string> commands = {"\"\""};
  std::string values;
  std::string words;
  ForEach(program, [&](const Command& command, const std::vector<std::string>& path) {
    if (!path.empty()) commands.push_back(Quoted(path));
    absl::StrAppend(&words, "    ", Quoted(path), ") mapfile -t COMPREPLY < <(compgen -W \"",
                    WordsAfter(command), "\" -- \"$word\") ;;\n");
    for (const Option& option : command.options) {
      if (option.positional || option.value.empty()) continue;
      for (const std::string& name : option.names) {
        absl::StrAppend(&values, "    \"", absl::StrJoin(path, " "), "|", name,
                        "\") mapfile -t COMPREPLY < <(", Values(option), "); return ;;\n");
      }
    }
  });
  return absl::StrReplaceAll(kTemplate,
                             {{"$PROGRAM", program.name},
                              {"$FUNCTION", absl::StrReplaceAll(program.name, {{"-", "_"}})},
                              {"$COMMANDS", absl::StrJoin(commands, " | ")},
                              {"$VALUES", values},
                              {"$WORDS", words}});
}

}  // namespace fmaserver::pages
