// The tokens of one fine group of an encoder, which ask as one block.

#if defined(FMA_KERNELS_CPU_ENCODER_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_ENCODER_BLOCKS_INL_H_
#undef FMA_KERNELS_CPU_ENCODER_BLOCKS_INL_H_
#else
#define FMA_KERNELS_CPU_ENCODER_BLOCKS_INL_H_
#endif

#include <algorithm>
#include <array>

#include "hwy/highway.h"
#include "kernels/cpu/encoder_lists-inl.h"
#include "kernels/host/attention.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

class EncoderBlock {
 public:
  EncoderBlock(const EncoderWork& work, int64_t kv_head, EncoderPlan::Group block,
               EncoderScratch& scratch)
      : work_(work),
        spec_(work.spec()),
        kv_head_(kv_head),
        heads_(spec_.QueriesPerKvHead()),
        sequence_(block.sequence),
        fine_group_(block.index),
        first_row_(work.plan.FirstRow(block.sequence)),
        length_(work.plan.Length(block.sequence)),
        levels_(spec_.hierarchy.VisibleLevels(length_)),
        scratch_(scratch),
        far_(work) {}

  /// Returns how many scores against summaries it computed.
  int64_t Attend() {
    const Hierarchy& h = spec_.hierarchy;
    for (int level = 1; level <= levels_ && !spec_.query_downsampling; ++level) {
      far_.Add(level, sequence_, fine_group_);
    }
    const GroupRange groups = Hierarchy::NearGroups(fine_group_, h.GroupsWithTokens(1, length_));
    near_first_ = groups.first * h.group_size;
    near_count_ = std::min(groups.end * h.group_size, length_) - near_first_;
    stride_ = far_.padded() + SlotLayout::RoundUp(near_count_, SlotLayout::kLane);
    Gather();
    const int64_t end = std::min((fine_group_ + 1) * h.group_size, length_);
    for (int64_t token = fine_group_ * h.group_size; token < end; token += kMaxBlockRows) {
      AttendTokens(token, std::min(kMaxBlockRows, end - token));
    }
    return (end - fine_group_ * h.group_size) * heads_ * far_.count();
  }

 private:
  void Gather() {
    const int64_t dim = work_.layout.dim;
    far_.GatherKeys(kv_head_, scratch_.keys, stride_);
    const int64_t row = first_row_ + near_first_;
    GatherColumns({work_.Vector(row, work_.KeyColumn(kv_head_)), work_.qkv.cols, spec_.head_dim},
                  near_count_, scratch_.keys + far_.padded(), stride_);
    for (int64_t i = 0; i < near_count_; ++i) {
      float* const value = scratch_.values + i * dim;
      std::copy_n(work_.Vector(row + i, work_.ValueColumn(kv_head_)), spec_.head_dim, value);
      std::fill(value + spec_.head_dim, value + dim, 0.0F);
    }
  }

  void AttendTokens(int64_t token, int64_t tokens) {
    const int64_t queries = tokens * heads_;
    const bool plain = spec_.positions == PositionEmbedding::kRope && !spec_.FarIsRotated();
    ScaleQueries(token, tokens);
    Scores(plain ? scratch_.far_queries : scratch_.near_queries, queries, spec_.head_dim,
           scratch_.keys, stride_, far_.padded(), scratch_.scores, stride_);
    Scores(scratch_.near_queries, queries, spec_.head_dim, scratch_.keys + far_.padded(), stride_,
           stride_ - far_.padded(), scratch_.scores + far_.padded(), stride_);
    for (int64_t query = 0; query < queries; query += kRowTile) {
      AttendTile(token, query, std::min<int64_t>(kRowTile, queries - query));
    }
  }

  /// Queries with their scale folded in.
  void ScaleQueries(int64_t token, int64_t tokens) {
    const float scale = QueryScale(spec_);
    const Rotary* const rotary = work_.weights.rotary.get();
    for (int64_t i = 0; i < tokens * heads_; ++i) {
      const int64_t position = token + i / heads_;
      const float* query = work_.Vector(first_row_ + position, kv_head_ * heads_ + i % heads_);
      float* const plain = scratch_.far_queries + i * spec_.head_dim;
      float* const placed = scratch_.near_queries + i * spec_.head_dim;
      for (int32_t c = 0; c < spec_.head_dim; ++c) plain[c] = query[c] * scale;
      if (rotary != nullptr) {
        rotary->Apply(work_.Rotation(position), plain, placed);
      } else {
        std::copy_n(plain, spec_.head_dim, placed);
      }
    }
  }

  /// Queries [query, query + count) of the rows that begin with `token`.
  void AttendTile(int64_t token, int64_t query, int64_t count) {
    const int64_t dim = work_.layout.dim;
    std::array<Found, kRowTile> found;
    for (int64_t i = 0; i < count; ++i) {
      float* const scores = scratch_.scores + (query + i) * stride_;
      const int64_t head = kv_head_ * heads_ + (query + i) % heads_;
      far_.AddBiases(head, scores);
      std::fill(scores + far_.padded() + near_count_, scores + stride_, kHidden);
      found[i] = OfShare(head, token + (query + i) / heads_);
      found[i].scale =
          Softmax(scores, stride_, {&found[i].as_key, found[i].value == nullptr ? 0U : 1U});
    }
    const float* const weights = scratch_.scores + query * stride_;
    const ColumnRun near{far_.padded(), 0, near_count_};
    WeightedRows(count, weights, stride_, far_.columns(), work_.ValueSummary(kv_head_, 0), dim,
                 scratch_.outputs);
    WeightedRows<true>(count, weights, stride_, {&near, 1}, scratch_.values, dim, scratch_.outputs);
    for (int64_t i = 0; i < count; ++i)
      Store(token, query + i, found[i], scratch_.outputs + i * dim);
  }

  /// What the share of a token found, as one key with a score and a value.
  struct Found {
    MissingKeys as_key;
    const float* value = nullptr;  ///< [D]; null: nothing
    float scale = 0;               ///< 1 / the sum of all weights
  };

  Found OfShare(int64_t head, int64_t position) const {
    if (!spec_.query_downsampling || levels_ == 0) return {};
    const int64_t place = work_.plan.Place(1, sequence_, 0) + spec_.hierarchy.ShareOf(1, position);
    return {{.score = work_.Mass(head, place), .count = 1}, work_.QuerySummary(head, place)};
  }

  void Store(int64_t token, int64_t query, const Found& found, const float* sums) const {
    const int64_t head = kv_head_ * heads_ + query % heads_;
    float* const out = work_.out.Row(first_row_ + token + query / heads_) + head * spec_.head_dim;
    const float* const value = found.value == nullptr ? sums : found.value;
    JoinValues(sums, found.as_key.weight, value, found.scale, spec_.head_dim, out);
  }

  const EncoderWork& work_;
  const AttentionSpec& spec_;
  const int64_t kv_head_;
  const int64_t heads_;
  const int64_t sequence_;
  const int64_t fine_group_;
  const int64_t first_row_;
  const int64_t length_;
  const int levels_;
  EncoderScratch& scratch_;
  SummaryList far_;
  int64_t near_first_ = 0;
  int64_t near_count_ = 0;
  int64_t stride_ = 0;  // floats from one query's scores to the next's
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
