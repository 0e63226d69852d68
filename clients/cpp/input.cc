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
    return Refusal("text", Words{"missing"}, "an argument, --prompt-file FILE, or a pipe");
  }
  if (options.file.empty() || options.file == "-") {
    return ReadToEnd(STDIN_FILENO, "standard input", kMaxTextBytes);
  }
  absl::StatusOr<std::string> text = ReadPromptFile(options.file);
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
