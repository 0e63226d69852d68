// Opened units: the best of every query, by the scores that scan_sketches_kernel.h left. A block
// takes a query and a KV head: it finds the score of the last unit that is opened, eight bits at a
// time, and lists what is better in order; of equals the earlier units.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/cuda/attention/open_notes.h"
#include "kernels/cuda/attention/selected_rows.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// Blocks: (row, KV head).
struct ChooseUnitsKernel : OpenParameters {
  static constexpr int kThreads = 256;
  static constexpr int kWarps = kThreads / kWarpSize;
  static constexpr const char* kName = "choose_units";

  static constexpr int64_t SharedMemory() {
    return SharedBytes<int>(kThreads) + SharedBytes<int>(kWarps) + SharedBytes<int>(2);
  }

  FMA_DEVICE void operator()() const {
    const int heads = attention.spec.num_kv_heads;
    const DecodeRow row = LoadRow(rows + BlockIndex() / heads);
    if (row.slot == nullptr || row.archive < 0) return;
    const UnitRange units = OpenableUnits(attention.spec, row.position);
    const auto count = static_cast<int>(units.Count());
    const OpenNotes notes = Notes(BlockIndex() / heads, static_cast<int>(BlockIndex() % heads));
    if (count > attention.spec.open_units) return ListBest(notes, units);
    for (int i = ThreadIndex(); i < count; i += kThreads) {
      Store(notes.Unit(i), static_cast<int32_t>(units.first + i));
    }
  }

 private:
  struct Memory {
    FMA_DEVICE Memory() : Memory(SharedArena()) {}

    Shared<int> bins;    // [kThreads]
    Shared<int> totals;  // [kWarps]
    Shared<int> found;   // the bin, and how many of it are taken

   private:
    FMA_DEVICE explicit Memory(SharedArena arena)
        : bins(arena.Take<int>(kThreads)),
          totals(arena.Take<int>(kWarps)),
          found(arena.Take<int>(2)) {}
  };

  /// Scores as whole numbers in the same order; -0 equals 0.
  FMA_DEVICE static uint32_t Rank(float score) {
    const auto bits = std::bit_cast<uint32_t>(score + 0.0F);
    return bits >> 31 != 0 ? ~bits : bits | 0x80000000U;
  }

  FMA_DEVICE void ListBest(const OpenNotes& notes, const UnitRange& units) const {
    const Memory memory;
    const auto count = static_cast<int>(units.Count());
    uint32_t bar = 0;                        // the first bits of the last rank that is taken
    int equals = attention.spec.open_units;  // how many of those of that rank are taken
    for (int shift = 24; shift >= 0; shift -= 8) {
      CountBins(memory, notes, count, bar, shift);
      FindBin(memory, equals);
      bar |= static_cast<uint32_t>(memory.found.Get(0)) << shift;
      equals = memory.found.Get(1);
      SyncThreads();
    }
    List(memory, notes, units, bar, equals);
  }

  /// Counts the units whose ranks begin as `bar` by the next eight bits, the largest first.
  FMA_DEVICE void CountBins(const Memory& memory, const OpenNotes& notes, int count, uint32_t bar,
                            int shift) const {
    memory.bins.Set(ThreadIndex(), 0);
    SyncThreads();
    for (int i = ThreadIndex(); i < count; i += kThreads) {
      const uint32_t rank = Rank(Load(notes.UnitScore(i)));
      const bool begins = shift == 24 || (rank ^ bar) >> (shift + 8) == 0;
      if (begins) memory.bins.AtomicAdd(static_cast<int>(255 - (rank >> shift & 255)), 1);
    }
    SyncThreads();
  }

  /// Finds the bin that holds number `wanted`, and how many of it are wanted.
  FMA_DEVICE void FindBin(const Memory& memory, int wanted) const {
    const int own = memory.bins.Get(ThreadIndex());
    const int before = SumBefore(memory, own);
    if (before < wanted && before + own >= wanted) {
      memory.found.Set(0, 255 - ThreadIndex());
      memory.found.Set(1, wanted - before);
    }
    SyncThreads();
  }

  /// The sum of `value` over all earlier threads; ends with a barrier.
  FMA_DEVICE int SumBefore(const Memory& memory, int value) const {
    int sum = value;
    for (int step = 1; step < kWarpSize; step *= 2) {
      const int other = Shuffle(sum, LaneIndex() < step ? LaneIndex() : LaneIndex() - step);
      if (LaneIndex() >= step) sum += other;
    }
    if (LaneIndex() == kWarpSize - 1) memory.totals.Set(WarpIndex(), sum);
    SyncThreads();
    for (int warp = 0; warp < WarpIndex(); ++warp) sum += memory.totals.Get(warp);
    SyncThreads();
    return sum - value;
  }

  FMA_DEVICE void List(const Memory& memory, const OpenNotes& notes, const UnitRange& units,
                       uint32_t bar, int equals) const {
    constexpr int kEqual = 1 << 16;  // equals are counted above this, what is better below it
    const auto count = static_cast<int>(units.Count());
    int better_before = 0;
    int equal_before = 0;
    for (int first = 0; first < count; first += kThreads) {
      const int i = first + ThreadIndex();
      const uint32_t rank = i < count ? Rank(Load(notes.UnitScore(i))) : 0;
      const bool better = i < count && rank > bar;
      const bool equal = i < count && rank == bar;
      const int before = SumBefore(memory, (better ? 1 : 0) + (equal ? kEqual : 0));
      const int better_here = better_before + before % kEqual;
      const int equal_here = equal_before + before / kEqual;
      if (better || (equal && equal_here < equals)) {
        const int place = better_here + (equal_here < equals ? equal_here : equals);
        Store(notes.Unit(place), static_cast<int32_t>(units.first + i));
      }
      if (ThreadIndex() == kThreads - 1) {
        memory.found.Set(0, better_here + (better ? 1 : 0));
        memory.found.Set(1, equal_here + (equal ? 1 : 0));
      }
      SyncThreads();
      better_before = memory.found.Get(0);
      equal_before = memory.found.Get(1);
      SyncThreads();
    }
  }
};

}  // namespace fmaserver::kernels::cuda
