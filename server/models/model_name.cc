#include "server/models/model_name.h"

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

}  // namespace

absl::StatusOr<ModelSource> MakeSource(std::string name, std::filesystem::path folder) {
  if (folder.empty()) return Refusal("folder", Words{"missing"}, "a checkpoint folder");
  if (name.empty()) name = NameOfFolder(folder);
  if (absl::Status status = CheckIsName("name", name); !status.ok()) return status;
  return ModelSource{.name = std::move(name), .folder = std::move(folder)};
}

absl::StatusOr<ModelSource> ParseSource(const std::string& text) {
  const size_t end = text.find('=');
  const std::string name = text.substr(0, end);
  if (end == std::string::npos || !IsName(name)) return MakeSource({}, text);
  return MakeSource(name, text.substr(end + 1));
}

}  // namespace fmaserver::models
