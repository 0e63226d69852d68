#include "model_loader/sentencepiece/chars_map.h"

#include <algorithm>

#include "absl/status/status.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::model {
namespace {

constexpr size_t kUnitBytes = 4;
constexpr size_t kMaxReplacement = 1024;
constexpr uint32_t kLeafBit = uint32_t{1} << 31;

uint32_t ReadUnit(std::string_view bytes, size_t index) {
  uint32_t unit = 0;
  for (size_t i = kUnitBytes; i-- > 0;) {
    unit = unit << 8 | static_cast<unsigned char>(bytes[index * kUnitBytes + i]);
  }
  return unit;
}

// The bits of a darts-clone unit: 31 leaf, 10..30 offset, 9 offset is scaled by 256, 8 a leaf hangs
// below, 0..7 label. A leaf's other 31 bits are its value.
bool HasLeaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t Value(uint32_t unit) { return unit & ~kLeafBit; }
uint32_t Label(uint32_t unit) { return unit & (kLeafBit | 0xFF); }
uint32_t Offset(uint32_t unit) { return (unit >> 10) << ((unit & (1U << 9)) >> 6); }

size_t LongestReplacement(std::string_view replacements) {
  size_t longest = 0;
  for (size_t begin = 0; begin < replacements.size();) {
    const size_t end = std::min(replacements.find('\0', begin), replacements.size());
    longest = std::max(longest, end - begin);
    begin = end + 1;
  }
  return longest;
}

}  // namespace

absl::StatusOr<CharsMap> CharsMap::Parse(std::string_view bytes, std::string_view origin) {
  CharsMap map;
  if (bytes.empty()) return map;
  const size_t trie_bytes = bytes.size() < kUnitBytes ? 0 : ReadUnit(bytes, 0);
  if (trie_bytes < kUnitBytes || trie_bytes % kUnitBytes != 0 ||
      trie_bytes > bytes.size() - kUnitBytes) {
    return Refusal(At(origin, "trie size of normalizer_spec.precompiled_charsmap"), trie_bytes,
                   Concat("a multiple of 4 from 4 up that fits its ", bytes.size(), " bytes"));
  }
  map.replacements_ = bytes.substr(kUnitBytes + trie_bytes);
  if (const size_t longest = LongestReplacement(map.replacements_); longest > kMaxReplacement) {
    return Refusal(At(origin, "longest replacement of normalizer_spec.precompiled_charsmap"),
                   Words{Concat(longest, " bytes")}, Concat("at most ", kMaxReplacement));
  }
  const std::string_view trie = bytes.substr(kUnitBytes, trie_bytes);
  map.units_.resize(trie_bytes / kUnitBytes);
  for (size_t i = 0; i < map.units_.size(); ++i) map.units_[i] = ReadUnit(trie, i);
  return map;
}

std::optional<CharsMap::Match> CharsMap::Find(std::string_view text) const {
  if (units_.empty()) return std::nullopt;
  std::optional<Match> match;
  size_t node = Offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    const uint32_t unit = Unit(node);
    if (node >= units_.size() || Label(unit) != byte) break;
    node ^= Offset(unit);
    if (HasLeaf(unit)) match = Match{i + 1, Replacement(Value(Unit(node)))};
  }
  return match;
}

std::string_view CharsMap::Replacement(uint32_t offset) const {
  if (offset >= replacements_.size()) return {};
  const std::string_view rest = std::string_view(replacements_).substr(offset);
  return rest.substr(0, rest.find('\0'));
}

}  // namespace fmaserver::model
