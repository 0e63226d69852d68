// Summaries of an encoder's groups, of which the last of a level may lack tokens.

#if defined(FMA_KERNELS_CPU_ENCODER_SUMMARIES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_ENCODER_SUMMARIES_INL_H_
#undef FMA_KERNELS_CPU_ENCODER_SUMMARIES_INL_H_
#else
#define FMA_KERNELS_CPU_ENCODER_SUMMARIES_INL_H_
#endif

#include <algorithm>

#include "hwy/highway.h"
#include "kernels/cpu/downsample-inl.h"
#include "kernels/cpu/encoder_attention.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// Makes the summaries of one group and one of its keys, values or queries.
class GroupSummary {
 public:
  GroupSummary(const EncoderWork& work, int level, EncoderPlan::Group group)
      : work_(work),
        level_(level),
        group_(group),
        length_(work.plan.Length(group.sequence)),
        place_(work.plan.Place(level, group.sequence, group.index)) {}

  /// Of vector `column` of a token: queries, then keys, then values. A missing token is a vector of
  /// zeros and adds nothing; nor does a missing child.
  void Make(int64_t column, EncoderScratch& scratch) const {
    const auto [kind, head] = Kind(column);
    float* const sums = Summary(kind, head, place_);
    if (level_ > 1 && work_.spec().downsampling == Downsampling::kHierarchical) {
      FromChildren(kind, head, sums);
    } else if (level_ > 1 && work_.spec().downsampling == Downsampling::kAverage) {
      FromShares(kind, head, sums);
    } else {
      FromTokens(kind, column, sums, scratch.vector);
    }
  }

 private:
  struct KindAndHead {
    Downsampled kind;
    int64_t head;
  };

  KindAndHead Kind(int64_t column) const {
    const AttentionSpec& spec = work_.spec();
    if (column < spec.num_heads) return {Downsampled::kQueries, column};
    column -= spec.num_heads;
    if (column < spec.num_kv_heads) return {Downsampled::kKeys, column};
    return {Downsampled::kValues, column - spec.num_kv_heads};
  }

  float* Summary(Downsampled kind, int64_t head, int64_t place) const {
    if (kind == Downsampled::kQueries) return work_.QuerySummary(head, place);
    return kind == Downsampled::kKeys ? work_.KeySummary(head, place)
                                      : work_.ValueSummary(head, place);
  }

  void FromTokens(Downsampled kind, int64_t column, float* sums, float* padded) const {
    const int64_t width = work_.spec().hierarchy.GroupTokens(level_);
    const int64_t first = group_.index * width;
    const int64_t tokens = std::min(width, length_ - first);
    const int64_t row = work_.plan.FirstRow(group_.sequence) + first;
    std::fill_n(padded, work_.layout.dim, 0.0F);
    for (int64_t i = 0; i < tokens; ++i) {
      std::copy_n(work_.Vector(row + i, column), work_.spec().head_dim, padded);
      AddToSummaries(work_.weights, kind, level_, i, padded, sums);
    }
  }

  /// The summaries of the children that there are, in a row.
  const float* Children(Downsampled kind, int64_t head) const {
    return Summary(kind, head, work_.plan.Place(level_ - 1, group_.sequence, 2 * group_.index));
  }
  int64_t ChildSummaries() const {
    const Hierarchy& h = work_.spec().hierarchy;
    const int64_t left = h.GroupsWithTokens(level_ - 1, length_) - 2 * group_.index;
    return std::min<int64_t>(left, 2) * h.rank;
  }

  void FromChildren(Downsampled kind, int64_t head, float* sums) const {
    const float* children = Children(kind, head);
    for (int64_t i = 0; i < ChildSummaries(); ++i) {
      AddToSummaries(work_.weights, kind, level_, i, children + i * work_.layout.dim, sums);
    }
  }

  /// With averages, sums of shares: each has two of the level below.
  void FromShares(Downsampled kind, int64_t head, float* sums) const {
    const int64_t dim = work_.layout.dim;
    const float* children = Children(kind, head);
    std::fill_n(sums, work_.spec().hierarchy.rank * dim, 0.0F);
    for (int64_t i = 0; i < ChildSummaries(); ++i) {
      MulAddTo(1.0F, children + i * dim, dim, sums + i / 2 * dim);
    }
  }

  const EncoderWork& work_;
  const int level_;
  const EncoderPlan::Group group_;
  const int64_t length_;
  const int64_t place_;
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
