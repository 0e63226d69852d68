#include "clients/cpp/input.h"

#include <unistd.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace fmaserver::client {
namespace {

std::string ReadAll(std::istream& in) {
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace

CLI::Option_group& AddTextOptions(CLI::App& command, InputOptions& options) {
  CLI::Option_group& group =
      *command.add_option_group("Input", "Standard input is read when none is given");
  group.add_option("text", options.text, "The text itself");
  group.add_option("-f,--prompt-file", options.file, "A file with the text; - is standard input")
      ->type_name("FILE");
  group.require_option(0, 1);
  return group;
}

void AddInputOptions(CLI::App& command, InputOptions& options) {
  AddTextOptions(command, options)
      .add_option("--token-ids", options.token_ids, "Token ids in place of a text: '[1, 2, 3]'")
      ->type_name("JSON");
}

absl::StatusOr<std::string> ReadText(const InputOptions& options) {
  if (!options.text.empty()) return options.text;
  if (options.file.empty() && isatty(STDIN_FILENO) != 0) {
    return absl::InvalidArgumentError(
        "no input: give the text as an argument, name a file with --prompt-file, or pipe it in");
  }
  if (options.file.empty() || options.file == "-") return ReadAll(std::cin);
  std::ifstream file(options.file, std::ios::binary);
  std::string text = ReadAll(file);
  if (!file) {
    return absl::NotFoundError(absl::StrCat("--prompt-file: cannot read ", options.file));
  }
  return text;
}

absl::StatusOr<std::vector<uint32_t>> ParseTokenIds(const std::string& json) {
  const absl::Status wrong = absl::InvalidArgumentError(
      "token ids: a JSON array of whole numbers from 0 to 4294967295 is needed, such as '[1, 2]'");
  const auto parsed = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_array()) return wrong;
  std::vector<uint32_t> ids;
  for (const auto& id : parsed) {
    if (!id.is_number_unsigned()) return wrong;
    const auto value = id.get<uint64_t>();
    if (value > std::numeric_limits<uint32_t>::max()) return wrong;
    ids.push_back(static_cast<uint32_t>(value));
  }
  return ids;
}

}  // namespace fmaserver::client
