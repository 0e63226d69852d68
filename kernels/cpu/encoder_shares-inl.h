// Down-sampled queries: the shares of one group of a level, which ask in place of their tokens.

#if defined(FMA_KERNELS_CPU_ENCODER_SHARES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_ENCODER_SHARES_INL_H_
#undef FMA_KERNELS_CPU_ENCODER_SHARES_INL_H_
#else
#define FMA_KERNELS_CPU_ENCODER_SHARES_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cmath>

#include "hwy/highway.h"
#include "kernels/cpu/encoder_lists-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// A share's query summary becomes what its tokens see of this level and of all above.
class EncoderShares {
 public:
  EncoderShares(const EncoderWork& work, int level, int64_t kv_head, EncoderPlan::Group group,
                EncoderScratch& scratch)
      : work_(work),
        level_(level),
        kv_head_(kv_head),
        sequence_(group.sequence),
        first_share_(group.index * work.spec().hierarchy.rank),
        scratch_(scratch),
        list_(work) {
    const Hierarchy& h = work.spec().hierarchy;
    const int64_t length = work.plan.Length(sequence_);
    shares_ = std::min<int64_t>(h.rank, h.ShareOf(level, length - 1) + 1 - first_share_);
    is_top_ = level == h.VisibleLevels(length);
    list_.Add(level, sequence_, group.index << (level - 1));
  }

  /// Returns how many scores it computed.
  int64_t Attend() {
    const int64_t heads = work_.spec().QueriesPerKvHead();
    list_.GatherKeys(kv_head_, scratch_.keys, list_.padded());
    for (int64_t head = kv_head_ * heads; head < (kv_head_ + 1) * heads; ++head) {
      for (int64_t share = 0; share < shares_; share += kMaxBlockRows) {
        AttendRows(head, share, std::min(kMaxBlockRows, shares_ - share));
      }
    }
    return heads * shares_ * list_.count();
  }

 private:
  int64_t Place(int64_t share) const {
    return work_.plan.Place(level_, sequence_, 0) + first_share_ + share;
  }

  void AttendRows(int64_t head, int64_t share, int64_t rows) {
    const int64_t columns = list_.padded();
    Scores(work_.QuerySummary(head, Place(share)), rows, work_.layout.dim, scratch_.keys, columns,
           columns, scratch_.scores, columns);
    for (int64_t row = 0; row < rows; row += kRowTile) {
      AttendTile(head, share + row, std::min<int64_t>(kRowTile, rows - row),
                 scratch_.scores + row * columns);
    }
  }

  void AttendTile(int64_t head, int64_t share, int64_t count, float* scores) {
    const int64_t dim = work_.layout.dim;
    const int64_t columns = list_.padded();
    std::array<MissingKeys, kRowTile> above;
    std::array<WeightSum, kRowTile> sums;
    for (int64_t i = 0; i < count; ++i) {
      above[i] = {.score = is_top_ ? kHidden : work_.Mass(head, Above(share + i)), .count = 1};
      list_.AddBiases(head, scores + i * columns);
      sums[i] = WeighWith(scores + i * columns, above[i]);
    }
    WeightedRows(count, scores, columns, list_.columns(), work_.ValueSummary(kv_head_, 0), dim,
                 scratch_.outputs);
    for (int64_t i = 0; i < count; ++i) {
      float* const out = work_.QuerySummary(head, Place(share + i));
      const float* const own = scratch_.outputs + i * dim;
      const float* const value = is_top_ ? own : work_.QuerySummary(head, Above(share + i));
      const float scale = sums[i].total > 0 ? 1.0F / sums[i].total : 0.0F;
      JoinValues(own, above[i].weight, value, scale, dim, out);
      work_.Mass(head, Place(share + i)) = sums[i].max + std::log(sums[i].total);
    }
  }

  /// Where the share of the level above is that this one lies in.
  int64_t Above(int64_t share) const {
    return work_.plan.Place(level_ + 1, sequence_, 0) +
           Hierarchy::ParentShare(first_share_ + share);
  }

  /// Where neither the list nor the levels above have anything, the sum is 0.
  WeightSum WeighWith(float* scores, MissingKeys& above) const {
    if (list_.count() > 0) return Weigh(scores, list_.padded(), {&above, 1});
    above.weight = above.score == kHidden ? 0.0F : 1.0F;
    return {above.score, above.weight};
  }

  const EncoderWork& work_;
  const int level_;
  const int64_t kv_head_;
  const int64_t sequence_;
  const int64_t first_share_;  // of the group, among those of the sequence
  int64_t shares_ = 0;         // of the group that have a token
  bool is_top_ = false;
  EncoderScratch& scratch_;
  SummaryList list_;
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
