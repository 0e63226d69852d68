#include "server/config_file.h"

#include <algorithm>
#include <istream>
#include <iterator>

#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/environment.h"
#include "base/refusal.h"
#include "server/config_text.h"

namespace fmaserver {
namespace {

std::string ReadBounded(std::istream& input) {
  constexpr size_t kMaxBytes = size_t{1} << 20;
  std::string text(kMaxBytes + 1, '\0');
  input.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(input.gcount()));
  if (text.size() <= kMaxBytes) return text;
  throw CLI::ConfigError(Concat("--config: the file is longer than ", kMaxBytes, " bytes"));
}

/// How --config writes what holds of `option`.
std::string Value(const CLI::Option& option) {
  const std::vector<std::string> results = option.reduced_results();
  if (results.size() == 1) return ConfigValue(results.front());
  if (option.get_expected_min() == 0) return "false";  // a flag that was not given
  if (results.empty() && option.get_expected_max() == 1) {
    return ConfigValue(option.get_default_str());
  }
  return Concat("[",
                absl::StrJoin(results, ", ",
                              [](std::string* out, const std::string& result) {
                                *out += ConfigValue(result);
                              }),
                "]");
}

}  // namespace

std::vector<CLI::ConfigItem> ConfigFile::from_config(std::istream& input) const {
  const auto entries = ParseConfigText(ReadBounded(input));
  if (!entries.ok()) throw CLI::ConfigError(std::string(entries.status().message()));
  std::vector<CLI::ConfigItem> items;
  for (const ConfigEntry& entry : *entries) {
    const CLI::Option* option = app_.get_option_no_throw("--" + entry.key);
    if (option == nullptr || !option->get_configurable()) {
      throw CLI::ConfigError(
          std::string(Refusal(Concat("--config, line ", entry.line, ": key"), entry.key,
                              "the long names of --help that a file can set, without sections")
                          .message()));
    }
    if (FromEnvironment(option->get_envname()).has_value()) continue;
    // A key that comes again adds to its list; CLI11 refuses that for what is no list.
    auto item = std::ranges::find(items, entry.key, &CLI::ConfigItem::name);
    if (item == items.end()) {
      item = items.emplace(items.end());
      item->name = entry.key;
    }
    item->inputs.insert(item->inputs.end(), entry.values.begin(), entry.values.end());
  }
  std::erase_if(items, [](const CLI::ConfigItem& item) { return item.inputs.empty(); });
  return items;
}

std::string ConfigFile::to_config(const CLI::App* app, bool /*default_also*/,
                                  bool write_description, std::string prefix) const {
  std::string text;
  for (const CLI::Option* option : app->get_options({})) {
    if (!option->get_configurable()) continue;
    if (write_description) {
      absl::StrAppend(&text, "\n# ",
                      absl::StrReplaceAll(option->get_description(), {{"\n", "\n# "}}), "\n");
    }
    absl::StrAppend(&text, prefix, option->get_single_name(), "=", Value(*option), "\n");
  }
  return text;
}

}  // namespace fmaserver
