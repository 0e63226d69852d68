#include "server/sessions/shelf/redis/store_options.h"

#include "absl/strings/numbers.h"
#include "base/address.h"
#include "base/file.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::sessions {
namespace {

constexpr std::string_view kForm = "redis://HOST:PORT[/DATABASE] or rediss://HOST:PORT[/DATABASE]";

bool TakePrefix(std::string_view prefix, std::string_view& text) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace

absl::StatusOr<StoreAddress> ParseStoreUrl(std::string_view what, std::string_view url) {
  constexpr int kMostDatabases = 1 << 20;
  if (url.find('@') != std::string_view::npos) {
    return Refusal(what, Words{"a URL with a user or a password"},
                   Concat(kForm, "; the login belongs into a file"));
  }
  StoreAddress address{.text = std::string(url)};
  std::string_view rest = url;
  address.tls = TakePrefix("rediss://", rest);
  if (!address.tls && !TakePrefix("redis://", rest)) return Refusal(what, url, kForm);
  const size_t slash = rest.find('/');
  const auto host_port = ParseHostPort(what, rest.substr(0, slash));
  if (!host_port.ok()) return host_port.status();
  address.host = host_port->host;
  address.port = host_port->port;
  if (address.host.empty() || address.port == 0) return Refusal(what, url, kForm);
  if (slash == std::string_view::npos || slash + 1 == rest.size()) return address;
  if (!absl::SimpleAtoi(ToAbsl(rest.substr(slash + 1)), &address.database) ||
      address.database < 0 || address.database > kMostDatabases) {
    return Refusal(Concat(what, ": database"), rest.substr(slash + 1), FromTo(0, kMostDatabases));
  }
  return address;
}

absl::StatusOr<StoreLogin> ReadStoreLogin(const std::string& file) {
  constexpr size_t kMostBytes = 4096;
  absl::StatusOr<std::string> text = ReadWholeFile(file, kMostBytes);
  if (!text.ok()) return text.status();
  std::string_view line = *text;
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
  const size_t space = line.find(' ');
  if (space == 0 || space == std::string_view::npos || space + 1 == line.size() ||
      line.find('\n') != std::string_view::npos) {
    return At(file, Refusal("login", Words{"something else"},
                            "one line, the user, a space and the password; \"default\" is the "
                            "user of a store that has only a password"));
  }
  return StoreLogin{.user = std::string(line.substr(0, space)),
                    .password = std::string(line.substr(space + 1))};
}

}  // namespace fmaserver::sessions
