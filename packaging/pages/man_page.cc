#include "packaging/pages/man_page.h"

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace fmaserver::pages {
namespace {

/// Text that roff prints as it is.
std::string Plain(absl::string_view text) {
  std::string safe = absl::StrReplaceAll(text, {{"\\", "\\e"}, {"-", "\\-"}});
  // A line that begins with one of these would be a macro.
  safe = absl::StrReplaceAll(safe, {{"\n.", "\n\\&."}, {"\n'", "\n\\&'"}});
  const bool macro = safe.starts_with('.') || safe.starts_with('\'');
  return macro ? absl::StrCat("\\&", safe) : safe;
}

std::string Bold(absl::string_view text) { return absl::StrCat("\\fB", Plain(text), "\\fR"); }

std::string Names(const Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.names) {
    names.push_back(option.positional ? absl::AsciiStrToUpper(name) : Bold(name));
  }
  std::string text = absl::StrJoin(names, ", ");
  if (!option.positional && !option.value.empty()) {
    absl::StrAppend(&text, " \\fI", Plain(option.value), "\\fR");
  }
  return text;
}

std::string Entry(const Option& option) {
  std::string help = Plain(option.help);
  if (!option.allowed.empty()) absl::StrAppend(&help, ", ", Plain(option.allowed));
  if (!help.empty()) absl::StrAppend(&help, ".");
  if (!option.default_value.empty()) {
    absl::StrAppend(&help, " Default: ", Plain(option.default_value), ".");
  }
  if (!option.variable.empty()) absl::StrAppend(&help, " Variable: ", Bold(option.variable), ".");
  return absl::StrCat(".TP\n", Names(option), "\n", help, "\n");
}

/// All options; `heading` is put before each group.
std::string Options(const Command& command, absl::string_view heading) {
  std::string text;
  std::string group;
  for (const bool positional : {true, false}) {
    for (const Option& option : command.options) {
      if (option.positional != positional) continue;
      if (!heading.empty() && option.group != group) {
        group = option.group;
        absl::StrAppend(&text, heading, " ", Plain(group), "\n");
      }
      absl::StrAppend(&text, Entry(option));
    }
  }
  return text;
}

std::string Synopsis(const Command& command, const std::vector<std::string>& words) {
  std::string text = absl::StrCat(Bold(absl::StrJoin(words, " ")), " [\\fIOPTIONS\\fR]");
  for (const Option& option : command.options) {
    if (!option.positional) continue;
    const std::string name = absl::AsciiStrToUpper(option.names.front());
    absl::StrAppend(&text, " ", option.required ? name : absl::StrCat("[", name, "]"));
  }
  return text;
}

std::string Notes(const Command& command) {
  if (command.footer.empty()) return "";
  return absl::StrCat(".PP\n.nf\n", Plain(absl::StripAsciiWhitespace(command.footer)), "\n.fi\n");
}

}  // namespace

std::string ManPage(const Command& program, const std::string& version) {
  std::string page =
      absl::StrCat(".TH ", absl::AsciiStrToUpper(program.name), " 1 \"\" \"FMA Server ", version,
                   "\"\n.SH NAME\n", Plain(program.help), "\n.SH SYNOPSIS\n");
  ForEach(program, [&](const Command& command, std::vector<std::string> words) {
    if (!command.commands.empty()) return;  // a command of it must be named
    words.insert(words.begin(), program.name);
    absl::StrAppend(&page, Synopsis(command, words), "\n.br\n");
  });
  absl::StrAppend(&page, ".SH OPTIONS\n", Options(program, program.commands.empty() ? ".SS" : ""));
  if (!program.commands.empty()) absl::StrAppend(&page, ".SH COMMANDS\n");
  ForEach(program, [&](const Command& command, const std::vector<std::string>& words) {
    if (words.empty()) return;
    absl::StrAppend(&page, ".SS ", Plain(absl::StrJoin(words, " ")), "\n", Plain(command.help),
                    ".\n", Options(command, ""), Notes(command));
  });
  if (!program.footer.empty()) absl::StrAppend(&page, ".SH NOTES\n", Notes(program));
  return page;
}

}  // namespace fmaserver::pages
