// Copies of opened units in device memory, as kernels see them. A unit's tokens lie in the host's
// memory, and neighbouring tokens open mostly the same units.
//
// Every KV head has sets of its own, for all layers together, and a unit can lie in the lines of
// one set. place_units_kernel.h decides before each attention what is found and what is replaced:
// what was opened longest ago. attend_units_kernel.h reads lines, and fills those of units that
// were not there with what it reads over the bus anyway.
//
// Copies are never stale: a unit is known by the identity of its group, of which every writing of
// the group has one of its own (archive_group.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/fma/archive_layout.h"

namespace fmaserver::kernels::cuda {

struct DeviceUnitCache {
  using Number = unsigned long long;         // NOLINT(google-runtime-int): what atomics take
  static constexpr int kWays = 32;           ///< a warp looks at a set
  static constexpr int64_t kAlignment = 16;  ///< of lines, which are loaded like archives

  int64_t sets = 0;  ///< of each KV head; 0: there is no cache
  int64_t line_bytes = 0;
  std::byte* lines = nullptr;  ///< [KV heads, sets, kWays] of line_bytes: as in an archive
  Number* keys = nullptr;      ///< [KV heads, sets, kWays]: KeyOfUnit(); 0: nothing is there
  Number* uses = nullptr;      ///< likewise: the time of the last use, by the head's clock
  Number* clocks = nullptr;    ///< [KV heads]: launches that looked for units
  Number* reads = nullptr;     ///< [2]: of units, of which copies were there, and others

  bool operator==(const DeviceUnitCache&) const = default;
};

/// Where the attention finds a unit, as one number: a line that has it, the host's memory alone, or
/// the host's memory with a line to fill.
class UnitPlace {
 public:
  constexpr explicit UnitPlace(int32_t code) : code_(code) {}
  static constexpr UnitPlace Host() { return UnitPlace(-1); }
  static constexpr UnitPlace InLine(int64_t line) { return UnitPlace(static_cast<int32_t>(line)); }
  static constexpr UnitPlace ToLine(int64_t line) {
    return UnitPlace(-2 - static_cast<int32_t>(line));
  }

  constexpr int32_t code() const { return code_; }
  constexpr bool IsCopied() const { return code_ >= 0; }
  constexpr bool Fills() const { return code_ < -1; }
  /// Of a unit that is copied or fills one.
  constexpr int64_t Line() const { return Fills() ? -2 - int64_t{code_} : code_; }

 private:
  int32_t code_;
};

/// Not 0, and no other unit's of any archive.
constexpr DeviceUnitCache::Number KeyOfUnit(const ArchiveLayout& layout, uint64_t identity,
                                            int32_t layer, int32_t kv_head, int64_t unit) {
  const auto heads = static_cast<uint64_t>(layout.num_layers) * layout.num_kv_heads;
  const auto units = static_cast<uint64_t>(layout.UnitsPerGroup());
  const auto head = static_cast<uint64_t>(layout.HeadIndex(layer, kv_head));
  return (identity * heads + head) * units + static_cast<uint64_t>(unit) % units;
}

/// The set of a unit among those of its KV head.
constexpr int64_t SetOfUnit(DeviceUnitCache::Number key, int64_t sets) {
  // Keys of neighbours follow each other, so they are mixed, as in SplitMix64.
  uint64_t mixed = key + 0x9E3779B97F4A7C15U;
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9U;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBU;
  mixed ^= mixed >> 31;
  return static_cast<int64_t>((mixed >> 32) * static_cast<uint64_t>(sets) >> 32);
}

}  // namespace fmaserver::kernels::cuda
