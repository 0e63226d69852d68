// What the connections of a door share.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <unordered_set>
#include <vector>

#include "server/openai/loop.h"
#include "server/openai/router.h"
#include "server/service/door_options.h"
#include "server/service/service.h"

namespace fmaserver::openai {

class Connection;

/// How long a client may take. Tests have less patience.
struct Patience {
  std::chrono::milliseconds greeting{10'000};  ///< TLS
  std::chrono::milliseconds first{30'000};     ///< for the first byte of the first request
  std::chrono::milliseconds head{10'000};
  std::chrono::milliseconds body{120'000};
  std::chrono::milliseconds write{60'000};  ///< for the kernel to take the next bytes
  std::chrono::milliseconds leave{2'000};   ///< for the last answer to arrive
  std::chrono::milliseconds ping{5'000};    ///< a stream without events gets a comment
};

/// On the loop's thread.
struct Hall {
  /// Calls `none` once there is no connection.
  void AwaitNone(std::function<void()> none);
  void Leave(const std::shared_ptr<Connection>& connection);

  Loop& loop;
  service::Service& service;
  const Router& router;
  const service::DoorOptions& options;
  const Patience patience;
  bool draining = false;  // each answer is the last one of its connection
  bool closing = false;   // connections without a request end
  std::unordered_set<std::shared_ptr<Connection>> connections = {};
  std::vector<std::function<void()>> awaiting_none = {};

  /// Bytes of bodies that are being received, all connections together, and how many there may be.
  size_t body_bytes = 0;
  size_t max_body_bytes = 0;
  /// The same of answers that are sent only when they are whole.
  size_t answer_bytes = 0;
  size_t max_answer_bytes = 0;
};

}  // namespace fmaserver::openai
