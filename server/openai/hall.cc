#include "server/openai/hall.h"

#include <utility>

#include "server/openai/connection.h"

namespace fmaserver::openai {

void Hall::AwaitNone(std::function<void()> none) {
  if (connections.empty()) return none();
  awaiting_none.push_back(std::move(none));
}

void Hall::Leave(const std::shared_ptr<Connection>& connection) {
  connections.erase(connection);
  if (!connections.empty()) return;
  for (const auto& none : std::exchange(awaiting_none, {})) none();
}

}  // namespace fmaserver::openai
