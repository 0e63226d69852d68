#include "server/engine/prefix_cache.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace fmaserver::engine {
namespace {

// The bytes of a node or an entry besides tokens and states: maps, lists, allocation.
constexpr int64_t kNodeBytes = 512;
constexpr int64_t kEntryBytes = 256;

}  // namespace

/// One entry at a time, because a trie that freed itself would recurse as deep as it is.
PrefixCache::~PrefixCache() {
  while (!entries_.empty()) Remove(std::prev(entries_.end()));
}

PrefixCache::Block PrefixCache::BlockAt(std::span<const int32_t> tokens, size_t index) {
  Block block;
  std::ranges::copy(tokens.subspan(index * kBlock, kBlock), block.begin());
  return block;
}

int64_t PrefixCache::Bytes(const Entry& entry) {
  const size_t state = entry.state.slot == nullptr ? 0 : entry.state.slot->bytes().size();
  return kEntryBytes + static_cast<int64_t>(entry.tail.size() * sizeof(int32_t) + state);
}

PrefixCache::Lookup PrefixCache::Find(const std::string& scope, std::span<const int32_t> prompt) {
  Lookup lookup;
  // One token must be left to read: its logits choose the first token of the answer.
  const std::span<const int32_t> usable = prompt.first(prompt.empty() ? 0 : prompt.size() - 1);
  if (usable.size() < kBlock) {
    lookup.miss = CacheMiss::kShort;
    return lookup;
  }
  const std::lock_guard lock(mutex_);
  const std::vector<Node*> path = WalkSeen(scope, usable);
  lookup.state = LongestState(path, usable);
  if (lookup.state.slot == nullptr) {
    lookup.miss = path.size() > 1 ? CacheMiss::kNotKept : CacheMiss::kUnseen;
  }
  // When the path covers every block of the prompt, the prompt does not part from earlier ones.
  const bool parts = path.size() - 1 < usable.size() / kBlock;
  const int64_t shared = parts ? static_cast<int64_t>((path.size() - 1) * kBlock) : 0;
  lookup.points =
      PointsWorthKeeping(shared, lookup.state.tokens(), static_cast<int64_t>(usable.size()));
  Mark(path, usable);
  Trim();
  return lookup;
}

void PrefixCache::Insert(const std::string& scope, std::span<const int32_t> tokens, State state) {
  const std::span<const int32_t> held = tokens.first(static_cast<size_t>(state.tokens()));
  if (held.size() < kBlock) return;
  const std::lock_guard lock(mutex_);
  Entry& entry = Mark(WalkSeen(scope, held), held);
  bytes_ -= Bytes(entry);
  entry.state = std::move(state);
  bytes_ += Bytes(entry);
  Trim();
}

void PrefixCache::DropArchives(const std::string& scope, absl::FunctionRef<bool()> enough) {
  const std::lock_guard lock(mutex_);
  for (auto entry = entries_.end(); entry != entries_.begin();) {
    --entry;
    if (entry->state.archive.empty() || !ScopeOf(*entry).starts_with(scope)) continue;
    const auto dropped = entry++;
    Remove(dropped);
    if (enough()) return;
  }
}

const std::string& PrefixCache::ScopeOf(const Entry& entry) {
  const Node* node = entry.node;
  while (node->parent != nullptr) node = node->parent;
  return node->scope;
}

/// `shared`: after how many tokens the prompt parts from earlier ones; `kept`: how many the found
/// state holds.
std::vector<int64_t> PrefixCache::PointsWorthKeeping(int64_t shared, int64_t kept, int64_t usable) {
  std::vector<int64_t> points;
  const auto share = static_cast<uint64_t>((usable + kMaxGridPoints - 1) / kMaxGridPoints);
  const auto distance = std::max(kMinGridDistance, static_cast<int64_t>(std::bit_ceil(share)));
  for (int64_t point = (kept / distance + 1) * distance; point < usable; point += distance) {
    points.push_back(point);
  }
  if (shared > kept) points.push_back(shared);
  if (usable - kept >= static_cast<int64_t>(kBlock)) points.push_back(usable);
  std::ranges::sort(points);
  points.erase(std::unique(points.begin(), points.end()), points.end());
  return points;
}

/// The nodes that earlier prompts share with `tokens`, from the root on (made if there is none).
std::vector<PrefixCache::Node*> PrefixCache::WalkSeen(const std::string& scope,
                                                      std::span<const int32_t> tokens) {
  std::vector<Node*> path = {&Root(scope)};
  for (size_t i = 0; i < tokens.size() / kBlock; ++i) {
    const auto child = path.back()->children.find(BlockAt(tokens, i));
    if (child == path.back()->children.end()) break;
    path.push_back(child->second.get());
  }
  return path;
}

State PrefixCache::LongestState(std::span<Node* const> path, std::span<const int32_t> tokens) {
  for (size_t depth = path.size(); depth-- > 0;) {
    const Node& node = *path[depth];
    if (node.entries.empty()) continue;
    const std::span<const int32_t> rest = tokens.subspan(depth * kBlock);
    for (size_t size = std::min(rest.size(), kBlock - 1) + 1; size-- > 0;) {
      const auto found = node.entries.find(std::vector<int32_t>(rest.begin(), rest.begin() + size));
      if (found == node.entries.end() || found->second->state.slot == nullptr) continue;
      Touch(found->second);
      return found->second->state;
    }
  }
  return {};
}

PrefixCache::Node& PrefixCache::Root(const std::string& scope) {
  std::unique_ptr<Node>& root = roots_[scope];
  if (root == nullptr) {
    root = std::make_unique<Node>();
    root->scope = scope;
    bytes_ += kNodeBytes;
  }
  return *root;
}

PrefixCache::Node& PrefixCache::Extend(Node& node, const Block& block) {
  std::unique_ptr<Node>& child = node.children[block];
  if (child == nullptr) {
    child = std::make_unique<Node>();
    child->parent = &node;
    child->block = block;
    bytes_ += kNodeBytes;
  }
  return *child;
}

/// The entry of exactly `tokens`, made if there is none, and now the most recently used. `seen` is
/// WalkSeen of these tokens.
PrefixCache::Entry& PrefixCache::Mark(std::span<Node* const> seen,
                                      std::span<const int32_t> tokens) {
  Node* node = seen.back();
  const size_t blocks = tokens.size() / kBlock;
  for (size_t i = seen.size() - 1; i < blocks; ++i) node = &Extend(*node, BlockAt(tokens, i));
  const std::span<const int32_t> rest = tokens.subspan(blocks * kBlock);
  std::vector<int32_t> tail(rest.begin(), rest.end());
  const auto [place, is_new] = node->entries.try_emplace(tail);
  if (is_new) {
    entries_.push_front({.node = node, .tail = std::move(tail), .state = {}});
    place->second = entries_.begin();
    bytes_ += Bytes(entries_.front());
  } else {
    Touch(place->second);
  }
  return *place->second;
}

void PrefixCache::Trim() {
  while (bytes_ > max_bytes_ && !entries_.empty()) Remove(std::prev(entries_.end()));
}

void PrefixCache::Remove(Entries::iterator entry) {
  Node* node = entry->node;
  bytes_ -= Bytes(*entry);
  node->entries.erase(entry->tail);
  entries_.erase(entry);
  Prune(node);
}

/// Frees `node` and those of its ancestors that have neither entries nor children any more.
void PrefixCache::Prune(Node* node) {
  while (node != nullptr && node->entries.empty() && node->children.empty()) {
    Node* parent = node->parent;
    bytes_ -= kNodeBytes;
    if (parent == nullptr) {
      roots_.erase(std::string(node->scope));
    } else {
      parent->children.erase(Block(node->block));
    }
    node = parent;
  }
}

}  // namespace fmaserver::engine
