// Where a store on the network is, and how to log in there.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fmaserver::sessions {

/// As the command line gives it. All but the URL are names of files, read anew for each connection.
struct StoreOptions {
  std::string url = {};    ///< ParseStoreUrl(); empty: there is no store
  std::string login = {};  ///< one line, "USER PASSWORD"; empty: the store asks for none
  std::string ca = {};     ///< authorities for rediss, PEM; empty: those of the system
  std::string cert = {};   ///< our certificate for rediss, PEM; empty: the store asks for none
  std::string key = {};    ///< its private key, PEM
  /// How long connecting, sending a command or receiving a reply may take; longer when many bytes
  /// move, and none for so long that kBytesPerSecond could have.
  double timeout_seconds = 5;
  /// How many of its replicas must have a save too, before it counts as durable.
  int replicas = 0;
};

/// A store that moves fewer bytes in a second is taken for one that does not answer.
inline constexpr double kBytesPerSecond = 4 << 20;

struct StoreAddress {
  bool tls = false;
  std::string host = {};
  int port = 0;
  int database = 0;
  std::string text = {};  ///< the URL, for messages: there is no secret in it
};

/// "redis://HOST:PORT[/DATABASE]", or rediss:// with TLS. INVALID_ARGUMENT says what is wrong with
/// `what`, an option's name, and does not repeat a user or a password, which must not be in it.
absl::StatusOr<StoreAddress> ParseStoreUrl(std::string_view what, std::string_view url);

struct StoreLogin {
  std::string user;
  std::string password;
};

/// What the file of StoreOptions::login says. No message repeats any of it.
absl::StatusOr<StoreLogin> ReadStoreLogin(const std::string& file);

}  // namespace fmaserver::sessions
