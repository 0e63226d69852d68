// What the queries of an encoder meet: keys gathered into one list, and how a list's softmax is
// joined with what another list gave.

#if defined(FMA_KERNELS_CPU_ENCODER_LISTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_ENCODER_LISTS_INL_H_
#undef FMA_KERNELS_CPU_ENCODER_LISTS_INL_H_
#else
#define FMA_KERNELS_CPU_ENCODER_LISTS_INL_H_
#endif

#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include "hwy/highway.h"
#include "kernels/cpu/block_attention-inl.h"
#include "kernels/cpu/encoder_attention.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

inline constexpr float kHidden = -std::numeric_limits<float>::infinity();

/// Vectors of `channels` channels, `stride` floats apart.
struct Vectors {
  const float* first = nullptr;
  int64_t stride = 0;
  int64_t channels = 0;
};

/// Makes columns of a matrix [channels, columns] of `count` vectors.
inline void GatherColumns(Vectors from, int64_t count, float* HWY_RESTRICT to, int64_t columns) {
  for (int64_t i = 0; i < count; i += SlotLayout::kLane) {
    const int64_t end = std::min(i + SlotLayout::kLane, count);
    for (int64_t c = 0; c < from.channels; ++c) {
      for (int64_t j = i; j < end; ++j) to[c * columns + j] = from.first[j * from.stride + c];
    }
  }
}

/// The summaries that some queries see.
class SummaryList {
 public:
  explicit SummaryList(const EncoderWork& work) : work_(work) {}

  void Add(int level, int64_t sequence, int64_t fine_group) {
    const size_t before = runs_.size();
    work_.plan.List(level, sequence, fine_group, runs_);
    for (size_t i = before; i < runs_.size(); ++i) {
      columns_.push_back({count_, runs_[i].place, runs_[i].count});
      count_ += runs_[i].count;
    }
  }

  int64_t count() const { return count_; }
  int64_t padded() const { return SlotLayout::RoundUp(count_, SlotLayout::kLane); }
  /// Where the summaries' values are among those of their head.
  std::span<const ColumnRun> columns() const { return columns_; }

  /// Their keys, with all channels up to D, as the first columns of `keys`.
  void GatherKeys(int64_t kv_head, float* keys, int64_t columns) const {
    for (size_t i = 0; i < runs_.size(); ++i) {
      const float* first = work_.KeySummary(kv_head, runs_[i].place);
      GatherColumns({first, work_.layout.dim, work_.layout.dim}, runs_[i].count,
                    keys + columns_[i].score, columns);
    }
  }

  /// Adds the biases of a query head, and hides the padding.
  void AddBiases(int64_t head, float* scores) const {
    for (size_t i = 0; i < runs_.size(); ++i) {
      const float bias = work_.weights.FarBias(static_cast<int32_t>(head), runs_[i].level);
      float* const first = scores + columns_[i].score;
      for (int64_t c = 0; c < runs_[i].count; ++c) first[c] += bias;
    }
    std::fill(scores + count_, scores + padded(), kHidden);
  }

 private:
  const EncoderWork& work_;
  std::vector<SummaryRun> runs_;
  std::vector<ColumnRun> columns_;
  int64_t count_ = 0;
};

/// out = (sums + weight * value) * scale over `n` channels.
inline void JoinValues(const float* sums, float weight, const float* value, float scale, int64_t n,
                       float* out) {
  for (int64_t c = 0; c < n; ++c) out[c] = (sums[c] + weight * value[c]) * scale;
}

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
