#include "packaging/pages/command.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace fmaserver::pages {
namespace {

/// Words like "auto" of "auto|cpu|cuda:N": what is written as it is, not a form to fill in.
std::vector<std::string> Listed(const std::string& text, char separator) {
  std::vector<std::string> words;
  for (const absl::string_view word : absl::StrSplit(text, separator)) {
    const bool plain = std::ranges::all_of(
        word, [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); });
    if (plain && !word.empty()) words.emplace_back(word);
  }
  return words;
}

/// CLI11 writes the kind of value, a colon, and what its checks allow: "TEXT:{f32,bf16}",
/// "INT:INT in [0 - 1024]", "FILE:FILE".
void SetValue(const std::string& type, Option& option) {
  const size_t end = type.find(':');
  const bool has_checks = end != std::string::npos && type.find('|') == std::string::npos;
  option.value = has_checks ? type.substr(0, end) : type;
  absl::string_view checks = has_checks ? absl::string_view(type).substr(end + 1) : "";
  if (absl::ConsumePrefix(&checks, "{") && absl::ConsumeSuffix(&checks, "}")) {
    option.choices = Listed(std::string(checks), ',');
    option.value = absl::StrJoin(option.choices, "|");
    return;
  }
  absl::ConsumePrefix(&checks, option.value);
  option.allowed = std::string(absl::StripAsciiWhitespace(checks));
  if (option.value.find('|') != std::string::npos) option.choices = Listed(option.value, '|');
}

Option Describe(const CLI::Option& cli, const std::string& group) {
  Option option;
  for (const std::string& name : cli.get_snames()) option.names.push_back("-" + name);
  for (const std::string& name : cli.get_lnames()) option.names.push_back("--" + name);
  option.positional = option.names.empty();
  if (option.positional) option.names = {cli.get_name(/*positional=*/true)};
  if (cli.get_items_expected_max() > 0) SetValue(cli.get_type_name(), option);
  option.help = cli.get_description();
  option.group = group.empty() ? cli.get_group() : group;
  option.variable = cli.get_envname();
  const bool has_default = cli.get_default_str() != "[]";  // of a list
  option.default_value = has_default ? cli.get_default_str() : "";
  option.required = cli.get_required();
  return option;
}

void AddOptions(const CLI::App& app, const std::string& group, Command& command) {
  for (const CLI::Option* option : app.get_options()) {
    // Without a group it is hidden.
    if (!option->get_group().empty()) command.options.push_back(Describe(*option, group));
  }
}

}  // namespace

Command Describe(const CLI::App& app) {
  Command command{.name = app.get_name(),
                  .help = app.get_description(),
                  .footer = app.get_footer(),
                  .options = {},
                  .commands = {}};
  AddOptions(app, "", command);
  for (const CLI::App* inner : app.get_subcommands([](const CLI::App* /*any*/) { return true; })) {
    if (inner->get_name().empty()) {
      AddOptions(*inner, inner->get_group(), command);  // a group of options
    } else {
      command.commands.push_back(Describe(*inner));
    }
  }
  return command;
}

}  // namespace fmaserver::pages
