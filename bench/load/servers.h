// Who answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "clients/cpp/client.h"

namespace fmaserver::bench {

struct Servers {
  std::vector<client::Client>& clients;  ///< one or more
  client::Client* prefill = nullptr;     ///< reads prompts into sessions first; null: nobody does

  /// The server of number `number`, 0 or more: they take turns.
  client::Client& Of(int64_t number) const {
    return clients[static_cast<size_t>(number) % clients.size()];
  }
};

}  // namespace fmaserver::bench
