#include "server/models/model_name.h"

#include <algorithm>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/names.h"
#include "base/refusal.h"

namespace fmaserver::models {
namespace {

std::string NameOfFolder(const std::filesystem::path& folder) {
  std::error_code error;
  const std::filesystem::path canonical = std::filesystem::canonical(folder, error);
  std::string name = (error ? folder : canonical).filename().string().substr(0, kMaxNameChars);
  for (char& c : name) {
    if (!IsName({&c, 1})) c = '_';
  }
  return name.empty() ? "model" : name;
}

/// An alias is looked up and nothing else: it is no folder and no label.
absl::Status CheckAlias(const std::string& alias) {
  static constexpr std::string_view kMore = "./:";
  const bool good =
      !alias.empty() && alias.size() <= kMaxNameChars && std::ranges::all_of(alias, [](char c) {
        return kMore.find(c) != std::string_view::npos || IsName({&c, 1});
      });
  if (good) return absl::OkStatus();
  return Refusal("model-name", alias,
                 Concat("1 to ", kMaxNameChars, " of A-Z a-z 0-9 _ - . / and :"));
}

}  // namespace

absl::StatusOr<ModelSource> MakeSource(std::string name, std::filesystem::path folder) {
  if (folder.empty()) return Refusal("folder", Words{"missing"}, "a checkpoint folder");
  if (name.empty()) name = NameOfFolder(folder);
  if (absl::Status status = CheckIsName("name", name); !status.ok()) return status;
  return ModelSource{.name = std::move(name), .folder = std::move(folder)};
}

absl::StatusOr<ModelSource> ParseSource(const std::string& text, std::vector<std::string> names) {
  const size_t end = text.find('=');
  const bool named = end != std::string::npos && IsName(text.substr(0, end));
  if (named) names.insert(names.begin(), text.substr(0, end));
  auto source = MakeSource(names.empty() ? std::string() : names.front(),
                           named ? text.substr(end + 1) : text);
  if (!source.ok() || names.empty()) return source;
  source->aliases.assign(names.begin() + 1, names.end());
  for (const std::string& alias : source->aliases) {
    if (absl::Status status = CheckAlias(alias); !status.ok()) return status;
  }
  return source;
}

}  // namespace fmaserver::models
