#include "server/sessions/shelf/open_shelf.h"

#include "server/sessions/shelf/directory/directory_shelf.h"

namespace fmaserver::sessions {

absl::StatusOr<std::unique_ptr<StateShelf>> OpenShelf(const SessionOptions& options,
                                                      const SessionModel& model) {
  if (options.dir.empty()) return nullptr;
  return DirectoryShelf::Open(options.dir, model);
}

}  // namespace fmaserver::sessions
