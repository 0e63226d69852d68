// States of prompts that were read before, found again by the tokens that they share with a new
// one.
//
// There is a trie for every scope. An edge is a block of kBlock tokens, compared token by token, so
// that no collision can give one prompt another's state. A node holds the states that are at most
// kBlock - 1 tokens past it. Every path that was read stays marked, with or without a state, so
// that the cache knows where a new prompt parts from the earlier ones: up to there a third one is
// likely to share them.
//
// Snapshots are copied out of slots and into slots, never lent. States and nodes share one budget
// in bytes; the least recently used go first. Chunks of archives are shared with whoever else holds
// them, and count in the archive's budget (ArchivePool) alone.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "server/engine/archive.h"
#include "server/engine/request.h"

namespace fmaserver::engine {

/// Thread-safe. Scopes share nothing but the budget.
class PrefixCache {
 public:
  static constexpr size_t kBlock = 32;  ///< shorter beginnings are not kept
  /// At most so many states are kept along one prompt at even distances, which are at least
  /// kMinGridDistance. States at its end, at marks and where it parts from others come on top.
  static constexpr int64_t kMaxGridPoints = 16;
  static constexpr int64_t kMinGridDistance = 2048;

  /// What all scopes of a tenant begin with. No tenant's name contains a 0 byte, so that no other
  /// part of a scope can imitate another tenant.
  static std::string TenantScope(const std::string& tenant) { return tenant + '\0'; }

  explicit PrefixCache(int64_t max_bytes) : max_bytes_(max_bytes) {}
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  struct Lookup {
    /// The longest kept prefix that leaves at least one token to read; without a slot: none.
    State state;
    /// Why there is none.
    CacheMiss miss = CacheMiss::kNone;
    /// Token counts past `state`, ascending, at which a state is worth keeping: where the prompt
    /// parts from earlier ones, at even distances along it, and before its last token (so that the
    /// same prompt finds everything it can use when it comes again).
    std::vector<int64_t> points;
  };

  /// Looks `prompt` up and marks its path as seen.
  Lookup Find(const std::string& scope, std::span<const int32_t> prompt);

  /// Keeps `state`, which has read the first state.tokens() of `tokens`. Equal tokens have one
  /// state.
  void Insert(const std::string& scope, std::span<const int32_t> tokens, State state);

  /// Drops states that have an archive, in scopes that begin with `scope`, the least recently used
  /// first, until `enough`, which is asked after each, says true.
  void DropArchives(const std::string& scope, absl::FunctionRef<bool()> enough);

  int64_t bytes() const {
    const std::lock_guard lock(mutex_);
    return bytes_;
  }
  int64_t max_bytes() const { return max_bytes_; }

 private:
  using Block = std::array<int32_t, kBlock>;
  struct Node;
  struct Entry {
    Node* node = nullptr;
    std::vector<int32_t> tail;  // tokens past the node, less than kBlock
    State state;                // without a slot: only the path is marked
  };
  using Entries = std::list<Entry>;  // most recently used first
  /// Lives as long as an entry lies at it or below it.
  struct Node {
    Node* parent = nullptr;  // null: the root of `scope`
    std::string scope;       // of a root
    Block block{};           // the edge from the parent
    absl::flat_hash_map<Block, std::unique_ptr<Node>> children;
    absl::flat_hash_map<std::vector<int32_t>, Entries::iterator> entries;  // by tail
  };

  static Block BlockAt(std::span<const int32_t> tokens, size_t index);
  static int64_t Bytes(const Entry& entry);
  static const std::string& ScopeOf(const Entry& entry);
  static std::vector<int64_t> PointsWorthKeeping(int64_t shared, int64_t kept, int64_t usable);

  Node& Extend(Node& node, const Block& block);
  Node& Root(const std::string& scope);
  std::vector<Node*> WalkSeen(const std::string& scope, std::span<const int32_t> tokens);
  State LongestState(std::span<Node* const> path, std::span<const int32_t> tokens);
  Entry& Mark(std::span<Node* const> seen, std::span<const int32_t> tokens);
  void Touch(Entries::iterator entry) { entries_.splice(entries_.begin(), entries_, entry); }
  void Trim();
  void Remove(Entries::iterator entry);
  void Prune(Node* node);

  const int64_t max_bytes_;
  mutable std::mutex mutex_;
  int64_t bytes_ = 0;  // guarded by mutex_, as are all below
  Entries entries_;
  absl::flat_hash_map<std::string, std::unique_ptr<Node>> roots_;
};

}  // namespace fmaserver::engine
