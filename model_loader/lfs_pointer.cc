#include "model_loader/lfs_pointer.h"

#include "base/refusal.h"

namespace fmaserver::model {

absl::Status RefuseLfsPointer(std::string_view bytes, std::string_view origin) {
  // The first line of every version of the format: "version " and where it is described.
  const bool pointer = bytes.starts_with("version https://git-lfs.github.com/spec/") ||
                       bytes.starts_with("version https://hawser.github.com/spec/");
  if (!pointer) return absl::OkStatus();
  return Refusal(origin, Words{"a git-lfs pointer"},
                 "the file that it stands for; `git lfs pull` fetches it",
                 absl::StatusCode::kFailedPrecondition);
}

}  // namespace fmaserver::model
