// A real redis-server that a test starts, stops and kills; or the program that FMA_REDIS_SERVER
// names, such as a valkey-server.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "server/sessions/shelf/redis/store_options.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {

class RedisServer {
 public:
  /// Starts it on a free port; `words` are more of its configuration. It keeps all that it
  /// acknowledges.
  explicit RedisServer(std::vector<std::string> words = {});
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  /// How to reach it, with a short time for answers.
  sessions::StoreOptions options() const;

  int port() const { return port_; }
  /// How to reach what listens on this port, likewise.
  static sessions::StoreOptions OptionsFor(int port);
  static int FreePort();

  void Start();
  /// Without waiting until it answers; `more` are words for this time.
  void Begin(std::vector<std::string> more = {});
  void Kill();   ///< SIGKILL
  void Pause();  ///< SIGSTOP
  void Resume();

  /// How many keys match the pattern.
  int64_t Count(const std::string& pattern) const;

  /// What it answers to a command, as text: lists have their elements separated by spaces.
  std::string Ask(const std::vector<std::string>& words) const;

 private:
  const TempFolder folder_;
  const std::vector<std::string> words_;
  int port_ = 0;
  pid_t process_ = -1;
};

}  // namespace fmaserver::testing
