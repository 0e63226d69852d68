#include "server/sessions/shelf/open_shelf.h"

#include "base/refusal.h"
#include "server/sessions/shelf/directory/directory_shelf.h"
#include "server/sessions/shelf/redis/redis_shelf.h"

namespace fmaserver::sessions {

absl::StatusOr<std::unique_ptr<StateShelf>> OpenShelf(const SessionOptions& options,
                                                      const SessionModel& model,
                                                      SessionObserver& observer) {
  if (!options.store.url.empty()) {
    if (!options.dir.empty()) {
      return Refusal("session-store", options.store.url, "none beside a session-dir");
    }
    return RedisShelf::Open(options.store, model, observer);
  }
  if (options.dir.empty()) return nullptr;
  return DirectoryShelf::Open(options.dir, model);
}

}  // namespace fmaserver::sessions
