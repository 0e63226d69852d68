#include "kernels/cpu/novelty.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/simd.h"
#include "kernels/fma/novelty.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/novelty.cc"
#include "hwy/foreach_target.h"  // must come first

#include "hwy/highway.h"

// With x the centred keys as the columns of X [d, m], S = X X^T / m and a ridge r, N_i is
// x_i^T (S + r I)^(-1) x_i. Where m < d the same comes out of a smaller matrix, X^T X + m r I = A:
// N_i = m (1 - m r (A^(-1))_ii). Both are sums of squares: with A = U^T U and U^T Y = R, the i-th
// column of Y has the square R_i^T A^(-1) R_i, where R is X or, for the smaller matrix, I.
HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using DoubleTag = hn::CappedTag<double, NoveltyScratch::kPad>;
using DoubleVec = hn::Vec<DoubleTag>;

constexpr int kTile = 4;     // rows that share loads
constexpr int kVecTile = 2;  // vectors of columns

class Novelty {
 public:
  explicit Novelty(NoveltyScratch& scratch)
      : work_(scratch), by_tokens_(scratch.tokens < scratch.dim) {}

  void Find() {
    double square = 0;
    double spread = 0;
    for (int64_t c = 0; c < work_.dim; ++c) Centre(Key(c), square, spread);
    if (!(spread > kNoSpread * square)) {
      std::fill(work_.novelty.begin(), work_.novelty.end(), 0.0F);
      return;
    }
    const auto tokens = static_cast<double>(work_.tokens);
    const double variance = spread / (tokens * static_cast<double>(work_.dim));
    const double ridge = kNoveltyRidge * variance * (by_tokens_ ? tokens : 1);
    FillRows();
    FindProducts(by_tokens_ ? 1 : 1 / tokens);
    FillRight();
    for (int64_t i = 0; i < work_.size; ++i) Row(i)[i] += ridge;
    for (int64_t first = 0; first < work_.size; first += kTile) Eliminate(first);
    const double* squares = SquaresOfColumns();
    for (int64_t i = 0; i < work_.tokens; ++i) {
      const double leverage = by_tokens_ ? tokens * (1 - ridge * squares[i]) : squares[i];
      work_.novelty[i] =
          static_cast<float>(std::nearbyint(leverage * kNoveltySteps) / kNoveltySteps);
    }
  }

 private:
  double* Key(int64_t channel) const { return work_.keys.get() + channel * work_.key_stride; }
  double* Row(int64_t i) const { return work_.matrix.get() + i * (work_.size + work_.key_stride); }
  double* Right(int64_t i) const { return Row(i) + work_.size; }

  /// Subtracts the mean of a channel, and adds its squares before and after.
  void Centre(double* channel, double& square, double& spread) const {
    std::fill(channel + work_.tokens, channel + work_.key_stride, 0.0);
    square += Sum(channel, [](DoubleVec x) { return hn::Mul(x, x); });
    const double mean =
        Sum(channel, [](DoubleVec x) { return x; }) / static_cast<double>(work_.tokens);
    for (int64_t i = 0; i < work_.tokens; ++i) channel[i] -= mean;
    spread += Sum(channel, [](DoubleVec x) { return hn::Mul(x, x); });
  }

  /// Of `map` of a row of the keys.
  template <typename Map>
  double Sum(const double* row, const Map& map) const {
    const DoubleTag d;
    DoubleVec sum = hn::Zero(d);
    for (int64_t i = 0; i < work_.key_stride; i += static_cast<int64_t>(hn::Lanes(d))) {
      sum = hn::Add(sum, map(hn::Load(d, row + i)));
    }
    return hn::GetLane(hn::SumOfLanes(d, sum));
  }

  /// The rows whose products are the matrix: channels or tokens. Others are zeros.
  void FillRows() const {
    double* rows = work_.rows.get();
    std::fill_n(rows, work_.size * work_.length, 0.0);
    for (int64_t c = 0; c < work_.dim; ++c) {
      if (!by_tokens_) {
        std::copy_n(Key(c), work_.tokens, rows + c * work_.length);
        continue;
      }
      for (int64_t i = 0; i < work_.tokens; ++i) rows[i * work_.length + c] = Key(c)[i];
    }
  }

  /// The upper half of the matrix, from whole vectors on: products of all rows, times `scale`.
  void FindProducts(double scale) const {
    for (int64_t i = 0; i < work_.size; i += kTile) {
      const int64_t begin = i / NoveltyScratch::kPad * NoveltyScratch::kPad;
      for (int64_t j = begin; j < work_.size; j += kTile) ProductTile(i, j, scale);
    }
  }

  void ProductTile(int64_t i, int64_t j, double scale) const {
    const DoubleTag d;
    const int64_t length = work_.length;
    const double* HWY_RESTRICT a = work_.rows.get() + i * length;
    const double* HWY_RESTRICT b = work_.rows.get() + j * length;
    DoubleVec sum[kTile][kTile];
    for (auto& row : sum) {
      for (DoubleVec& one : row) one = hn::Zero(d);
    }
    for (int64_t at = 0; at < length; at += static_cast<int64_t>(hn::Lanes(d))) {
      DoubleVec right[kTile];
      for (int c = 0; c < kTile; ++c) right[c] = hn::Load(d, b + c * length + at);
      for (int r = 0; r < kTile; ++r) {
        const DoubleVec left = hn::Load(d, a + r * length + at);
        for (int c = 0; c < kTile; ++c) sum[r][c] = hn::MulAdd(left, right[c], sum[r][c]);
      }
    }
    for (int r = 0; r < kTile; ++r) {
      for (int c = 0; c < kTile; ++c) {
        Row(i + r)[j + c] = scale * hn::GetLane(hn::SumOfLanes(d, sum[r][c]));
      }
    }
  }

  void FillRight() const {
    for (int64_t i = 0; i < work_.size; ++i) {
      std::fill_n(Right(i), work_.key_stride, 0.0);
      if (by_tokens_) Right(i)[i] = 1;
      if (!by_tokens_ && i < work_.dim) std::copy_n(Key(i), work_.tokens, Right(i));
    }
  }

  /// Where row i of Y ends: behind R's diagonal it is zero.
  int64_t EndOf(int64_t i) const {
    return work_.size +
           (by_tokens_ ? SlotLayout::RoundUp(i + 1, NoveltyScratch::kPad) : work_.key_stride);
  }

  /// Rows [first, first + kTile) become those of U and Y; the rows before them are.
  void Eliminate(int64_t first) const {
    const int64_t begin = first / NoveltyScratch::kPad * NoveltyScratch::kPad;
    const int64_t end = EndOf(first + kTile - 1);
    const auto lanes = static_cast<int64_t>(hn::Lanes(DoubleTag()));
    int64_t column = begin;
    for (; column + kVecTile * lanes <= end; column += kVecTile * lanes) {
      SubtractTile<kVecTile>(first, column);
    }
    for (; column < end; column += lanes) SubtractTile<1>(first, column);
    for (int64_t row = first; row < first + kTile; ++row) {
      for (int64_t before = first; before < row; ++before) {
        AddScaled(-Row(before)[row], Row(before), begin, end, Row(row));
      }
      Scale(1 / std::sqrt(Row(row)[row]), begin, end, Row(row));
    }
  }

  template <int kVecs>
  HWY_INLINE void SubtractTile(int64_t first, int64_t column) const {
    const DoubleTag d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    DoubleVec sum[kTile][kVecs];
    for (int r = 0; r < kTile; ++r) {
      for (int v = 0; v < kVecs; ++v) sum[r][v] = hn::Load(d, Row(first + r) + column + v * lanes);
    }
    for (int64_t before = 0; before < first; ++before) {
      const double* HWY_RESTRICT row = Row(before);
      DoubleVec element[kVecs];
      for (int v = 0; v < kVecs; ++v) element[v] = hn::Load(d, row + column + v * lanes);
      for (int r = 0; r < kTile; ++r) {
        const DoubleVec factor = hn::Set(d, row[first + r]);
        for (int v = 0; v < kVecs; ++v) sum[r][v] = hn::NegMulAdd(factor, element[v], sum[r][v]);
      }
    }
    for (int r = 0; r < kTile; ++r) {
      for (int v = 0; v < kVecs; ++v) hn::Store(sum[r][v], d, Row(first + r) + column + v * lanes);
    }
  }

  /// to += scale * from, in columns [begin, end).
  static void AddScaled(double scale, const double* HWY_RESTRICT from, int64_t begin, int64_t end,
                        double* HWY_RESTRICT to) {
    for (int64_t c = begin; c < end; ++c) to[c] += scale * from[c];
  }
  static void Scale(double scale, int64_t begin, int64_t end, double* row) {
    for (int64_t c = begin; c < end; ++c) row[c] *= scale;
  }

  /// Of Y; in the place of a row of keys, which nobody needs any more.
  const double* SquaresOfColumns() const {
    const DoubleTag d;
    double* squares = Key(0);
    for (int64_t i = 0; i < work_.key_stride; i += static_cast<int64_t>(hn::Lanes(d))) {
      DoubleVec sum = hn::Zero(d);
      for (int64_t row = 0; row < work_.size; ++row) {
        const DoubleVec y = hn::Load(d, Right(row) + i);
        sum = hn::MulAdd(y, y, sum);
      }
      hn::Store(sum, d, squares + i);
    }
    return squares;
  }

  NoveltyScratch& work_;
  const bool by_tokens_;  // the matrix is [m, m], else [d, d]
};

void FindNoveltyOf(NoveltyScratch& scratch) { Novelty(scratch).Find(); }

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fmaserver::kernels::cpu {
namespace {

HWY_EXPORT(FindNoveltyOf);

}  // namespace

void FindNovelty(NoveltyScratch& scratch) { HWY_DYNAMIC_DISPATCH(FindNoveltyOf)(scratch); }

}  // namespace fmaserver::kernels::cpu
#endif  // HWY_ONCE
