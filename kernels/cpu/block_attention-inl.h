// The three inner loops of a block's attention: scores, softmax, weighted values.
//
// Shapes: rows are (query, head) pairs; a row's scores lie in [A] floats, the far part (columns
// [0, far_end) of the slot) followed by the whole near part. Invisible columns score -infinity.

#if defined(FMA_KERNELS_CPU_BLOCK_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_BLOCK_ATTENTION_INL_H_
#undef FMA_KERNELS_CPU_BLOCK_ATTENTION_INL_H_
#else
#define FMA_KERNELS_CPU_BLOCK_ATTENTION_INL_H_
#endif

#include <span>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/key_matrix.h"
#include "kernels/cpu/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// How many vectors of columns or channels a tile has: 16 accumulators with 16 lanes, 8 with 8.
inline constexpr int kVecTile = hn::MaxLanes(FloatTag()) == 16 ? 4 : 2;

/// scores[r][0 .. kVecs vectors) = queries[r] . keys from column `column` on; every lane sums
/// channels in order.
template <int kRows, int kVecs, typename T>
HWY_INLINE void ScoreTile(const float* HWY_RESTRICT queries, int64_t dim, KeyMatrix<T> keys,
                          int64_t column, float* HWY_RESTRICT scores, int64_t scores_stride) {
  const FloatTag d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const T* at[kVecs];
  for (int v = 0; v < kVecs; ++v) at[v] = keys.At(column + v * lanes);
  FloatVec sum[kRows][kVecs];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) sum[r][v] = hn::Zero(d);
  }
  for (int64_t c = 0; c < dim; ++c) {
    FloatVec key[kVecs];
    for (int v = 0; v < kVecs; ++v) key[v] = LoadFloats(at[v] + c * keys.channel_step);
    for (int r = 0; r < kRows; ++r) {
      const FloatVec query = hn::Set(d, queries[r * dim + c]);
      for (int v = 0; v < kVecs; ++v) sum[r][v] = hn::MulAdd(query, key[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) {
      hn::Store(sum[r][v], d, scores + column + r * scores_stride + v * lanes);
    }
  }
}

template <int kVecs, typename T>
HWY_INLINE void ScoreRows(const float* queries, int64_t rows, int64_t dim, KeyMatrix<T> keys,
                          int64_t column, float* scores, int64_t stride) {
  int64_t r = 0;
  for (; r + kRowTile <= rows; r += kRowTile) {
    ScoreTile<kRowTile, kVecs>(queries + r * dim, dim, keys, column, scores + r * stride, stride);
  }
  queries += r * dim;
  scores += r * stride;
  static_assert(kRowTile == 4);
  switch (rows - r) {
    case 0:
      return;
    case 1:
      return ScoreTile<1, kVecs>(queries, dim, keys, column, scores, stride);
    case 2:
      return ScoreTile<2, kVecs>(queries, dim, keys, column, scores, stride);
    default:
      return ScoreTile<3, kVecs>(queries, dim, keys, column, scores, stride);
  }
}

/// Scores of `rows` queries [rows, dim] against the first `count` columns of `keys`; `count` is a
/// multiple of SlotLayout::kLane.
template <typename T>
void Scores(const float* queries, int64_t rows, int64_t dim, KeyMatrix<T> keys, int64_t count,
            float* scores, int64_t stride) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(FloatTag()));
  int64_t column = 0;
  for (; column + kVecTile * lanes <= count; column += kVecTile * lanes) {
    ScoreRows<kVecTile>(queries, rows, dim, keys, column, scores, stride);
  }
  if (column + 2 * lanes <= count) {
    ScoreRows<2>(queries, rows, dim, keys, column, scores, stride);
    column += 2 * lanes;
  }
  for (; column < count; column += lanes) {
    ScoreRows<1>(queries, rows, dim, keys, column, scores, stride);
  }
}

/// The same against a matrix [dim, columns].
template <typename T>
void Scores(const float* queries, int64_t rows, int64_t dim, const T* keys, int64_t columns,
            int64_t count, float* scores, int64_t stride) {
  Scores(queries, rows, dim, KeyMatrix<T>::Of(keys, columns), count, scores, stride);
}

/// The largest score, and the sum of all weights exp(score - max).
struct WeightSum {
  float max = 0;
  float total = 0;
};

/// Turns scores into weights exp(score - max), in place, and weighs the missing keys alike. `count`
/// is a multiple of SlotLayout::kLane.
inline WeightSum Weigh(float* HWY_RESTRICT scores, int64_t count, std::span<MissingKeys> missing) {
  const FloatTag d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  FloatVec max_lanes = hn::Load(d, scores);
  for (int64_t i = lanes; i < count; i += lanes) {
    max_lanes = hn::Max(max_lanes, hn::Load(d, scores + i));
  }
  float max = hn::GetLane(hn::MaxOfLanes(d, max_lanes));
  for (const MissingKeys& keys : missing) max = std::max(max, keys.score);

  const FloatVec shift = hn::Set(d, max);
  FloatVec sum = hn::Zero(d);
  for (int64_t i = 0; i < count; i += lanes) {
    const FloatVec weight = hn::Exp(d, hn::Sub(hn::Load(d, scores + i), shift));
    hn::Store(weight, d, scores + i);
    sum = hn::Add(sum, weight);
  }
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (MissingKeys& keys : missing) {
    keys.weight = static_cast<float>(keys.count) * std::exp(keys.score - max);
    total += keys.weight;
  }
  return {max, total};
}

/// The same; returns 1 / (the sum of all weights).
inline float Softmax(float* HWY_RESTRICT scores, int64_t count, std::span<MissingKeys> missing) {
  return 1.0F / Weigh(scores, count, missing).total;
}

/// out[r][0 .. kVecs vectors) = sum over the runs of weight x value, column by column in order;
/// with kAdd after what is there.
template <int kRows, int kVecs, bool kAdd, typename T>
HWY_INLINE void WeightedTile(const float* HWY_RESTRICT weights, int64_t stride,
                             std::span<const ColumnRun> runs, const T* HWY_RESTRICT values,
                             int64_t dim, float* HWY_RESTRICT out) {
  const FloatTag d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  FloatVec sum[kRows][kVecs];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) {
      sum[r][v] = kAdd ? hn::Load(d, out + r * dim + v * lanes) : hn::Zero(d);
    }
  }
  for (const ColumnRun& run : runs) {
    for (int64_t i = 0; i < run.count; ++i) {
      FloatVec value[kVecs];
      for (int v = 0; v < kVecs; ++v) {
        value[v] = LoadFloats(values + (run.column + i) * dim + v * lanes);
      }
      for (int r = 0; r < kRows; ++r) {
        const FloatVec weight = hn::Set(d, weights[r * stride + run.score + i]);
        for (int v = 0; v < kVecs; ++v) sum[r][v] = hn::MulAdd(weight, value[v], sum[r][v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) hn::Store(sum[r][v], d, out + r * dim + v * lanes);
  }
}

/// out [kRows, dim] from weights [kRows, stride], with kAdd added to what is there; dim is a
/// multiple of SlotLayout::kLane.
template <int kRows, bool kAdd = false, typename T>
HWY_INLINE void WeightedValues(const float* weights, int64_t stride,
                               std::span<const ColumnRun> runs, const T* values, int64_t dim,
                               float* out) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(FloatTag()));
  int64_t c = 0;
  for (; c + kVecTile * lanes <= dim; c += kVecTile * lanes) {
    WeightedTile<kRows, kVecTile, kAdd>(weights, stride, runs, values + c, dim, out + c);
  }
  for (; c < dim; c += lanes) {
    WeightedTile<kRows, 1, kAdd>(weights, stride, runs, values + c, dim, out + c);
  }
}

/// The same for 1 to kRowTile rows.
template <bool kAdd = false, typename T>
void WeightedRows(int64_t rows, const float* weights, int64_t stride,
                  std::span<const ColumnRun> runs, const T* values, int64_t dim, float* out) {
  static_assert(kRowTile == 4);
  switch (rows) {
    case 1:
      return WeightedValues<1, kAdd>(weights, stride, runs, values, dim, out);
    case 2:
      return WeightedValues<2, kAdd>(weights, stride, runs, values, dim, out);
    case 3:
      return WeightedValues<3, kAdd>(weights, stride, runs, values, dim, out);
    default:
      return WeightedValues<kRowTile, kAdd>(weights, stride, runs, values, dim, out);
  }
}

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
