#include "server/sessions/shelf/redis/resolve.h"

#include <future>
#include <thread>
#include <utility>

#include "base/text.h"

namespace fmaserver::sessions {
namespace {

struct Found {
  int error = 0;
  AddressList list;
};

Found LookUp(const std::string& host, int port, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(host.c_str(), Concat(port).c_str(), &hints, &list);
  return {.error = error, .list = AddressList(error == 0 ? list : nullptr)};
}

}  // namespace

absl::StatusOr<AddressList> Resolve(const std::string& host, int port, Clock::time_point deadline) {
  Found found = LookUp(host, port, AI_NUMERICHOST);
  if (found.error == 0) return std::move(found.list);
  std::promise<Found> promise;
  std::future<Found> future = promise.get_future();
  std::thread([promise = std::move(promise), host, port]() mutable {
    promise.set_value(LookUp(host, port, AI_ADDRCONFIG));
  }).detach();
  if (future.wait_until(deadline) != std::future_status::ready) {
    return absl::DeadlineExceededError("its name was not found in time");
  }
  found = future.get();
  if (found.error != 0) return absl::UnavailableError(gai_strerror(found.error));
  return std::move(found.list);
}

}  // namespace fmaserver::sessions
