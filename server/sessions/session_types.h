// The types of the store's interface: names, options, and what the store reports.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "base/names.h"
#include "server/sessions/session_model.h"
#include "server/sessions/shelf/redis/store_options.h"

namespace fmaserver::sessions {

/// A session belongs to a tenant: the same id in two tenants is two sessions. Both parts are 1 to
/// kMaxNameChars characters of A-Z a-z 0-9 _ and -.
struct SessionName {
  std::string tenant;
  std::string id;

  bool operator==(const SessionName&) const = default;
  bool operator<(const SessionName& other) const {
    return std::tie(tenant, id) < std::tie(other.tenant, other.id);
  }
};

/// Tells one record of a session from the next. Only the shelf knows what the bytes mean; everybody
/// else only compares them. Empty: there is no record.
struct Version {
  std::string value = {};

  bool operator==(const Version&) const = default;
};

inline constexpr int64_t kMaxRewindPoints = 1000;
inline constexpr int64_t kMaxLogTokens = int64_t{1} << 24;
inline constexpr double kMaxTtlSeconds = 1e9;

struct SessionOptions {
  std::filesystem::path dir = {};           ///< OpenShelf(); empty: sessions live in memory only
  StoreOptions store = {};                  ///< the same; at most one of the two is given
  int64_t memory_bytes = int64_t{1} << 30;  ///< for parked states and token logs
  int64_t rewind_points = 8;                ///< per session, besides the head; 0..kMaxRewindPoints
  int64_t log_tokens = 65'536;              ///< last tokens kept of each; 1..kMaxLogTokens
  double ttl_seconds = 86'400;              ///< without use; 0: never expires
  int64_t max_sessions = 100'000;
  double sweep_seconds = 30;  ///< between searches for expired sessions; 0: only Sweep()
};

/// How long a session lives; an absent field keeps its value, or has the default in a new session.
struct SessionLifetime {
  std::optional<double> ttl_seconds = {};  ///< 0 (never expires) to kMaxTtlSeconds
  std::optional<bool> pinned = {};         ///< never expires while true
};

enum class SessionPlace : uint8_t {
  kActive,    ///< a turn is live
  kInMemory,  ///< the next turn starts without reading anything
  kOnDisk,    ///< the next turn reads the newest state or the log first
};

struct SessionInfo {
  std::string id;
  int64_t tokens = 0;
  SessionPlace place{};
  int64_t bytes = 0;  ///< of its states, including what it shares with forks
  std::vector<int64_t> rewind_points =
      {};                 ///< token counts of its states, ascending; last the head
  int64_t log_begin = 0;  ///< first token that the log holds
  bool durable = false;   ///< would survive a crash
  bool pinned = false;
  double ttl_seconds = 0;
  double idle_seconds = 0;
  std::string resume_token = {};  ///< of an interrupted turn, else empty
};

struct SessionPage {
  std::vector<SessionInfo> sessions;
  std::string next;  ///< where the next page begins; empty on the last
};

/// How the request of an interrupted turn is encoded.
enum class RequestFormat : uint8_t {
  kApiMessage = 0,     ///< an fma.v1.GenerateRequest, as the first releases stored it
  kServiceRecord = 1,  ///< a message that the service defines
};

/// A turn that a shutdown cut short, with what is needed to go on with it.
struct InterruptedTurn {
  std::string request;    ///< opaque; at most kMaxInterruptedRequestBytes
  uint64_t seed = 0;      ///< what the sampler drew with
  int64_t generated = 0;  ///< how many of the session's last tokens the turn generated
  RequestFormat format = RequestFormat::kApiMessage;
};

inline constexpr size_t kMaxInterruptedRequestBytes = size_t{64} << 20;

/// The same of what a turn's caller leaves with its session.
inline constexpr size_t kMaxNoteBytes = size_t{64} << 20;

/// The state of the store at one moment.
struct SessionStats {
  int64_t active = 0;        ///< sessions of SessionPlace::kActive
  int64_t in_memory = 0;     ///< of kInMemory
  int64_t on_disk = 0;       ///< of kOnDisk
  int64_t memory_bytes = 0;  ///< states and logs in memory, shared ones counted once
  int64_t disk_bytes = 0;    ///< states on the shelf, shared ones counted once
};

/// Is told what happens, for metrics. Called on any thread, without locks held; must not block.
class SessionObserver {
 public:
  virtual ~SessionObserver() = default;
  virtual void OnSave(double /*seconds*/) {}     ///< a change was made durable
  virtual void OnSaveFailed() {}                 ///< a change is kept in memory only
  virtual void OnRestore(double /*seconds*/) {}  ///< a state was read from disk
  virtual void OnFork(int64_t /*children*/, double /*seconds*/) {}
  virtual void OnRewind(double /*seconds*/) {}
  /// A store on the network was called; `answered`: with what was asked for, within its time.
  virtual void OnStoreCall(double /*seconds*/, bool /*answered*/) {}
};

}  // namespace fmaserver::sessions
