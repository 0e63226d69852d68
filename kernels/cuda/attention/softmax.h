// The running state of an online softmax over tiles of scores, with one row for each query.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda {

/// The largest score so far and the sum of the weights relative to it.
struct SoftmaxStart {
  float max = -INFINITY;
  float total = 0;

  /// Adds `count` keys with the same score.
  FMA_DEVICE void Add(float score, int64_t count) {
    const float next = score > max ? score : max;
    total = total * FastExp(max - next) + static_cast<float>(count) * FastExp(score - next);
    max = next;
  }
};

/// Starts with the keys of zeros that padding puts in place of missing groups.
FMA_DEVICE SoftmaxStart StartSoftmax(const DeviceAttention& attention, const Hierarchy& hierarchy,
                                     int head, int64_t fine_group) {
  SoftmaxStart start;
  if (attention.spec.padding != Padding::kZeroKeys) return start;
  if (fine_group == 0) start.Add(0.0F, hierarchy.group_size);
  for (int level = 1; level <= hierarchy.num_levels; ++level) {
    const int64_t missing = Hierarchy::FarGroups(level, fine_group).Missing();
    if (missing == 0) continue;
    const float bias =
        LoadConstant(attention.far_bias + int64_t{head} * hierarchy.num_levels + level - 1);
    start.Add(bias, missing * hierarchy.rank);
  }
  return start;
}

class SoftmaxState {
 public:
  static constexpr int64_t SharedMemory(int rows) { return 3 * SharedBytes<float>(rows); }

  FMA_DEVICE SoftmaxState(SharedArena& arena, int rows)
      : max_(arena.Take<float>(rows)),
        total_(arena.Take<float>(rows)),
        rescale_(arena.Take<float>(rows)) {}

  /// Called by one thread: starts with only the keys of zeros that padding puts in place of missing
  /// groups.
  FMA_DEVICE void Start(int row, const DeviceAttention& attention, const Hierarchy& hierarchy,
                        int head, int64_t fine_group) const {
    Start(row, StartSoftmax(attention, hierarchy, head, fine_group));
  }

  /// Called by one thread.
  FMA_DEVICE void Start(int row, const SoftmaxStart& start) const {
    max_.Set(row, start.max);
    total_.Set(row, start.total);
  }

  /// Called by one warp: turns scores[first .. first + count), count > 0, into weights. Older sums
  /// must then be multiplied by Rescale().
  FMA_DEVICE void Advance(int row, const Shared<float>& scores, int first, int count) const {
    const float before = max_.Get(row);
    const float total = total_.Get(row);
    float max = before;
    for (int i = LaneIndex(); i < count; i += kWarpSize) {
      const float score = scores.Get(first + i);
      max = score > max ? score : max;
    }
    max = WarpMax(max);
    float sum = 0;
    for (int i = LaneIndex(); i < count; i += kWarpSize) {
      const float weight = FastExp(scores.Get(first + i) - max);
      scores.Set(first + i, weight);
      sum += weight;
    }
    sum = WarpSum(sum);
    SyncWarp();
    if (LaneIndex() != 0) return;
    const float rescale = FastExp(before - max);
    max_.Set(row, max);
    total_.Set(row, total * rescale + sum);
    rescale_.Set(row, rescale);
  }

  /// Called by one warp: adds keys that were summed elsewhere, relative to `max`, which is at least
  /// Max(). Older sums must then be multiplied by Rescale().
  FMA_DEVICE void Join(int row, float max, float total) const {
    const float rescale = FastExp(max_.Get(row) - max);
    SyncWarp();
    if (LaneIndex() != 0) return;
    max_.Set(row, max);
    total_.Set(row, std::fma(total_.Get(row), rescale, total));
    rescale_.Set(row, rescale);
  }

  FMA_DEVICE float Max(int row) const { return max_.Get(row); }
  FMA_DEVICE float Rescale(int row) const { return rescale_.Get(row); }
  FMA_DEVICE float Total(int row) const { return total_.Get(row); }

 private:
  Shared<float> max_;
  Shared<float> total_;
  Shared<float> rescale_;
};

}  // namespace fmaserver::kernels::cuda
