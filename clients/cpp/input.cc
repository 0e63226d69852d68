#include "clients/cpp/input.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/refusal.h"

namespace fmaserver::client {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;

/// Takes a pipe or a device as well as a file.
absl::StatusOr<std::string> ReadPromptFile(const std::string& file) {
  const FileDescriptor descriptor(open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!descriptor) return FileError(file, errno);
  return ReadToEnd(descriptor.get(), file, kMaxTextBytes);
}

/// An option of the group "Input", which rules out those that are there already.
CLI::Option* AddExclusive(CLI::App& command, const char* name, std::optional<std::string>& value,
                          const char* help) {
  constexpr char kGroup[] = "Input";
  const std::vector<CLI::Option*> others =
      command.get_options([&](const CLI::Option* option) { return option->get_group() == kGroup; });
  CLI::Option* option = command.add_option_function<std::string>(
      name, [&value](const std::string& text) { value = text; }, help);
  for (CLI::Option* other : others) option->excludes(other);
  return option->group(kGroup);
}

}  // namespace

void AddTextOptions(CLI::App& command, InputOptions& options) {
  // Not in a group of options: CLI11 would not look for TEXT in there after a "--".
  AddExclusive(command, "text", options.text, "The text itself; after -- it may begin with -");
  AddExclusive(command, "-f,--prompt-file", options.file,
               "A file with the text; - is standard input, as without any of these")
      ->type_name("FILE");
}

void AddInputOptions(CLI::App& command, InputOptions& options) {
  AddTextOptions(command, options);
  AddExclusive(command, "--token-ids", options.token_ids,
               "Token ids in place of a text: '[1, 2, 3]'")
      ->type_name("JSON");
}

absl::StatusOr<std::string> ReadText(const InputOptions& options) {
  if (options.text) return *options.text;
  if (!options.file && isatty(STDIN_FILENO) != 0) {
    return absl::InvalidArgumentError(
        "no input: give the text as an argument, name a file with --prompt-file, or pipe it in");
  }
  if (!options.file || options.file == "-") {
    return ReadToEnd(STDIN_FILENO, "standard input", kMaxTextBytes);
  }
  absl::StatusOr<std::string> text = ReadPromptFile(*options.file);
  if (!text.ok()) return At("--prompt-file", text.status());
  return text;
}

absl::StatusOr<std::vector<uint32_t>> ParseTokenIds(const std::string& json) {
  const absl::Status wrong = Refusal(
      "--token-ids", json, "a JSON array of whole numbers from 0 to 4294967295, such as '[1, 2]'");
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
