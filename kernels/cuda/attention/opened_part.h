// Opened units as the decode attention meets them: representatives that a query meets as opened
// tokens, and how the part of its softmax that the units give is joined with the rest.
//
// All threads of a block call every function; the caller needs a barrier after it.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/open_notes.h"
#include "kernels/cuda/attention/softmax.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// The score of what is not met. Not infinite, because it may be all that a softmax has seen so
/// far.
inline constexpr float kHiddenScore = -1e30F;

class OpenedPart {
 public:
  FMA_DEVICE OpenedPart(const AttentionSpec& spec, const OpenNotes& notes, int count)
      : spec_(spec), notes_(notes), count_(count) {}

  /// Units that are opened.
  FMA_DEVICE int Count() const { return count_; }

  /// The place in the list of the unit that `position` lies in, which may be any number; -1 where
  /// it is not opened.
  FMA_DEVICE int PlaceOf(int64_t position) const {
    const uint64_t unit = static_cast<uint64_t>(position) / static_cast<uint64_t>(spec_.open_size);
    int first = 0;
    for (int end = count_; first < end;) {
      const int middle = (first + end) / 2;
      const auto other = static_cast<uint64_t>(Load(notes_.Unit(middle)));
      if (other == unit) return middle;
      (other < unit ? first : end) = other < unit ? middle + 1 : middle;
    }
    return -1;
  }

  /// How the query head scores an opened token. `head` counts the KV head's query heads.
  FMA_DEVICE float ScoreOf(int place, int head, int64_t position) const {
    const auto tokens = static_cast<uint64_t>(spec_.open_size);
    return Load(notes_.TokenScore(place, head,
                                  static_cast<int64_t>(static_cast<uint64_t>(position) % tokens)));
  }

  /// Called by one warp: adds the units to the softmax of `head`, turns their largest scores into
  /// what their outputs are to be multiplied by, and their totals into shares of the softmax.
  FMA_DEVICE void Join(const SoftmaxState& softmax, int row, int head) const {
    float max = softmax.Max(row);
    for (int i = LaneIndex(); i < count_; i += kWarpSize) {
      const float largest = Load(notes_.Largest(i, head));
      max = largest > max ? largest : max;
    }
    max = WarpMax(max);
    float total = 0;
    for (int i = LaneIndex(); i < count_; i += kWarpSize) {
      const float weight = FastExp(Load(notes_.Largest(i, head)) - max);
      total = std::fma(weight, Load(notes_.Total(i, head)), total);
      Store(notes_.Largest(i, head), weight);
    }
    softmax.Join(row, max, WarpSum(total));
    SyncWarp();
    for (int i = LaneIndex(); i < count_; i += kWarpSize) {
      const float share = Load(notes_.Largest(i, head)) * Load(notes_.Total(i, head));
      Store(notes_.Share(i, head), share / softmax.Total(row));
    }
  }

  /// The sum of all units' outputs, after Join().
  FMA_DEVICE float Output(int head, int channel) const {
    float sum = 0;
    FMA_NO_UNROLL
    for (int i = 0; i < count_; ++i) {
      sum = std::fma(Load(notes_.Largest(i, head)), Load(notes_.Output(i, head, channel)), sum);
    }
    return sum;
  }

 private:
  const AttentionSpec& spec_;
  const OpenNotes notes_;
  const int count_;
};

}  // namespace fmaserver::kernels::cuda
