// Opened units: where each lies, in the device's cache or in the host's memory alone
// (unit_cache.h).
//
// Everything that the launch's rows open is looked for first, so that nothing that is found makes
// room for what is not. Then what is missing takes the lines that were used longest ago: once, for
// the first row that misses it, and only lines that no row of this launch reads. What is left is
// read from the host's memory.
//
// The rows of a slice miss the same units, so what they miss is fetched before they attend, and the
// other rows find it. Rows that are decoded share little, and fill lines while they attend, which
// saves a launch, unless units do not consist of whole pieces (opened_units.cu).
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "kernels/cuda/attention/open_notes.h"
#include "kernels/cuda/attention/selected_rows.h"
#include "kernels/cuda/attention/unit_cache.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

static_assert(DeviceUnitCache::kWays == kWarpSize);

/// Blocks: KV heads, whose sets nobody else touches.
struct PlaceUnitsKernel : OpenParameters {
  static constexpr int kThreads = 512;
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr const char* kName = "place_units";

  int64_t count = 0;     ///< rows
  bool fetches = false;  ///< FetchUnitsKernel follows

  static constexpr int64_t SharedMemory() { return SharedBytes<int>(kCounts); }

  FMA_DEVICE void operator()() const {
    const auto kv_head = static_cast<int>(BlockIndex());
    const Shared<int> counts = SharedArena().Take<int>(kCounts);
    if (ThreadIndex() < kCounts) counts.Set(ThreadIndex(), 0);
    const Number now = Load(unit_cache.clocks + kv_head) + 1;
    SyncThreads();
    LookUp(kv_head, now, counts);
    SyncThreads();
    if (counts.Get(kMissing) > 0) MakeRoom(kv_head, now, counts);
    SyncThreads();
    if (ThreadIndex() != 0) return;
    Store(unit_cache.clocks + kv_head, now);
    const int shared = counts.Get(kShared);
    AtomicAdd(unit_cache.reads, static_cast<Number>(counts.Get(kFound) + shared));
    AtomicAdd(unit_cache.reads + 1, static_cast<Number>(counts.Get(kMissing) - shared));
  }

 private:
  using Number = DeviceUnitCache::Number;

  /// Of what rows open: copies are there, are not there, or will be there for another row's sake.
  enum Count : int { kFound, kMissing, kShared, kCounts };

  FMA_DEVICE int64_t Opened() const { return count * at.opened; }
  FMA_DEVICE int32_t* PlaceOf(int64_t i, int kv_head) const {
    return Notes(i / at.opened, kv_head).Place(i % at.opened);
  }

  /// Of the i-th unit that rows may open; 0: that one is not opened.
  FMA_DEVICE Number KeyOf(int64_t i, int kv_head) const {
    const AttentionSpec& spec = attention.spec;
    const int64_t place = i % at.opened;
    const DecodeRow row = LoadRow(rows + i / at.opened);
    if (row.slot == nullptr || row.archive < 0) return 0;
    if (place >= OpenedUnits(spec, row.position)) return 0;
    const ArchiveLayout archived = layout.Archive(spec);
    const int64_t unit = Load(Notes(i / at.opened, kv_head).Unit(place));
    const DeviceGroup* group = archive + row.archive + unit / archived.UnitsPerGroup();
    return KeyOfUnit(archived, Load(&group->identity), layer, kv_head, unit);
  }

  FMA_DEVICE int64_t FirstLine(int kv_head, Number key) const {
    return (kv_head * unit_cache.sets + SetOfUnit(key, unit_cache.sets)) * DeviceUnitCache::kWays;
  }

  /// Warps share what is opened. Lanes find out which units these are, all at once; then a warp
  /// looks at the lines of a set.
  FMA_DEVICE void LookUp(int kv_head, Number now, const Shared<int>& counts) const {
    const int64_t share = (Opened() + kWarps - 1) / kWarps;
    const int64_t end = std::min<int64_t>(Opened(), (WarpIndex() + 1) * share);
    for (int64_t base = WarpIndex() * share; base < end; base += kWarpSize) {
      const int64_t i = base + LaneIndex();
      const Number key = i < end ? KeyOf(i, kv_head) : 0;
      for (uint32_t lanes = Ballot(key != 0); lanes != 0; lanes &= lanes - 1) {
        const int lane = std::countr_zero(lanes);
        Find(kv_head, Shuffle(key, lane), now, base + lane, counts);
      }
    }
  }

  FMA_DEVICE void Find(int kv_head, Number key, Number now, int64_t i,
                       const Shared<int>& counts) const {
    const int64_t first = FirstLine(kv_head, key);
    const uint32_t found = Ballot(Load(unit_cache.keys + first + LaneIndex()) == key);
    if (LaneIndex() != 0) return;
    const int64_t line = first + std::countr_zero(found);
    if (found != 0) AtomicMax(unit_cache.uses + line, now);
    Store(PlaceOf(i, kv_head), (found != 0 ? UnitPlace::InLine(line) : UnitPlace::Host()).code());
    counts.AtomicAdd(found != 0 ? kFound : kMissing, 1);
  }

  /// A set belongs to one warp, which takes what is missing in order.
  FMA_DEVICE void MakeRoom(int kv_head, Number now, const Shared<int>& counts) const {
    for (int64_t base = 0; base < Opened(); base += kWarpSize) {
      const int64_t i = base + LaneIndex();
      const Number key = i < Opened() ? KeyOf(i, kv_head) : 0;
      const bool own = key != 0 && SetOfUnit(key, unit_cache.sets) % kWarps == WarpIndex() &&
                       Load(PlaceOf(i, kv_head)) == UnitPlace::Host().code();
      for (uint32_t lanes = Ballot(own); lanes != 0; lanes &= lanes - 1) {
        const int lane = std::countr_zero(lanes);
        TakeLine(kv_head, Shuffle(key, lane), now, base + lane, counts);
      }
    }
  }

  /// Finds a line for the i-th unit, if there is one.
  FMA_DEVICE void TakeLine(int kv_head, Number key, Number now, int64_t i,
                           const Shared<int>& counts) const {
    SyncWarp();  // with what it has stored for others
    const int64_t first = FirstLine(kv_head, key);
    const uint32_t taken = Ballot(Load(unit_cache.keys + first + LaneIndex()) == key);
    if (taken != 0) {  // for another row
      if (!fetches || LaneIndex() != 0) return;
      Store(PlaceOf(i, kv_head), UnitPlace::InLine(first + std::countr_zero(taken)).code());
      counts.AtomicAdd(kShared, 1);
      return;
    }
    const Number used = Load(unit_cache.uses + first + LaneIndex());
    Number oldest = used;
    for (int step = kWarpSize / 2; step > 0; step /= 2) {
      const Number other = ShuffleXor(oldest, step);
      oldest = other < oldest ? other : oldest;
    }
    if (oldest == now) return;
    const int way = std::countr_zero(Ballot(used == oldest));
    if (LaneIndex() == way) {
      Store(unit_cache.keys + first + way, key);
      Store(unit_cache.uses + first + way, now);
      Store(PlaceOf(i, kv_head), UnitPlace::ToLine(first + way).code());
    }
  }
};

}  // namespace fmaserver::kernels::cuda
