// How unlike the others each key of a fine group is: its leverage, in float64, as a block of
// threads finds it. The counterpart of kernels/cpu/novelty.cc; docs/model.md, "Selected tokens".
//
// All threads of a block call every function, and each ends with a barrier. Novelty is rounded, so
// that another order of sums hardly ever gives another number.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention/attention_data.h"
#include "kernels/cuda/attention/head_cache.h"
#include "kernels/cuda/attention/rotation.h"
#include "kernels/cuda/runtime/device.h"
#include "kernels/fma/novelty.h"

namespace fmaserver::kernels::cuda {

/// The matrix [d, d + m] becomes, step by step: the keys as columns on the right, x; the upper half
/// of S + ridge on the left; the rows of the factor U and of y, U^T U = S + ridge, U^T y = x.
template <typename T>
class NoveltyOfGroup {
 public:
  static constexpr int64_t SharedMemory(const SlotLayout& layout) {
    return 2 * SharedBytes<double>(layout.head_dim);
  }

  /// `matrix` [d, d + m] and `novelty` [m] in global memory.
  FMA_DEVICE NoveltyOfGroup(const DeviceAttention& attention, const SlotLayout& layout,
                            const HeadCache<T>& cache, SharedArena& arena, double* matrix,
                            float* novelty)
      : attention_(attention),
        cache_(cache),
        dim_(layout.head_dim),
        tokens_(layout.hierarchy.group_size),
        squares_(arena.Take<double>(layout.head_dim)),
        spread_(arena.Take<double>(layout.head_dim)),
        matrix_(matrix),
        novelty_(novelty) {}

  /// Of the fine group whose tokens begin at `column`.
  FMA_DEVICE void Find(int64_t column) const {
    LoadKeys(column);
    Centre();
    double square = 0;
    double spread = 0;
    for (int c = 0; c < dim_; ++c) {
      square += squares_.Get(c);
      spread += spread_.Get(c);
    }
    const bool any = spread > kNoSpread * square;
    if (any) {
      FindSpread();
      const double ridge = kNoveltyRidge * spread / (static_cast<double>(tokens_) * dim_);
      for (int k = 0; k < dim_; ++k) Eliminate(k, ridge);
    }
    for (int i = ThreadIndex(); i < tokens_; i += ThreadCount()) {
      double leverage = 0;
      for (int k = 0; any && k < dim_; ++k) {
        const double y = Load(At(k, dim_ + i));
        leverage = std::fma(y, y, leverage);
      }
      Store(novelty_ + i, static_cast<float>(rint(leverage * kNoveltySteps) / kNoveltySteps));
    }
    SyncThreads();
  }

 private:
  FMA_DEVICE double* At(int row, int column) const {
    return matrix_ + row * (dim_ + tokens_) + column;
  }

  /// Turned back to where the group begins and no further: one rotation of all changes nothing.
  FMA_DEVICE void LoadKeys(int64_t column) const {
    const bool turns = attention_.spec.positions == PositionEmbedding::kRope;
    const int pairs = turns ? dim_ / 2 : dim_;
    for (int i = ThreadIndex(); i < pairs * tokens_; i += ThreadCount()) {
      const int token = i / pairs;
      const int low = i % pairs;
      const float scale = cache_.KeyScale(column + token);
      const double own = ToFloat(Load(cache_.KeyAt(column + token, low))) * scale;
      if (!turns) {
        Store(At(low, dim_ + token), own);
        continue;
      }
      const double other = ToFloat(Load(cache_.KeyAt(column + token, pairs + low))) * scale;
      const Rotation back =
          RotationAt(-static_cast<double>(token), LoadConstant(attention_.frequencies + low));
      Store(At(low, dim_ + token), own * back.cosine - other * back.sine);
      Store(At(pairs + low, dim_ + token), other * back.cosine + own * back.sine);
    }
    SyncThreads();
  }

  /// Subtracts the mean of each channel; a warp takes a channel. Leaves the channel's sums of
  /// squares before and after.
  FMA_DEVICE void Centre() const {
    for (int c = WarpIndex(); c < dim_; c += ThreadCount() / kWarpSize) {
      double sum = 0;
      double square = 0;
      for (int i = LaneIndex(); i < tokens_; i += kWarpSize) {
        const double x = Load(At(c, dim_ + i));
        sum += x;
        square = std::fma(x, x, square);
      }
      const double mean = WarpSum(sum) / tokens_;
      square = WarpSum(square);
      double spread = 0;
      for (int i = LaneIndex(); i < tokens_; i += kWarpSize) {
        const double x = Load(At(c, dim_ + i)) - mean;
        Store(At(c, dim_ + i), x);
        spread = std::fma(x, x, spread);
      }
      spread = WarpSum(spread);
      if (LaneIndex() != 0) continue;
      squares_.Set(c, square);
      spread_.Set(c, spread);
    }
    SyncThreads();
  }

  /// S = (1/m) sum of x x^T; a warp takes kTogether neighbouring elements of a row.
  FMA_DEVICE void FindSpread() const {
    constexpr int kTogether = 4;
    const int warps = ThreadCount() / kWarpSize;
    const int chunks = (dim_ + kTogether - 1) / kTogether;
    for (int item = WarpIndex(); item < dim_ * chunks; item += warps) {
      const int row = item / chunks;
      const int first = item % chunks * kTogether;
      if (first + kTogether <= row) continue;
      double sum[kTogether] = {};
      for (int i = LaneIndex(); i < tokens_; i += kWarpSize) {
        const double x = Load(At(row, dim_ + i));
        FMA_UNROLL
        for (int j = 0; j < kTogether; ++j) {
          if (first + j < dim_) sum[j] = std::fma(x, Load(At(first + j, dim_ + i)), sum[j]);
        }
      }
      FMA_UNROLL
      for (int j = 0; j < kTogether; ++j) {
        const double element = WarpSum(sum[j]) / tokens_;
        if (LaneIndex() == 0 && first + j < dim_) Store(At(row, first + j), element);
      }
    }
    SyncThreads();
  }

  /// Row k of U, except its diagonal, and of y; a thread takes a column. The pivot is found by
  /// every thread, which saves a barrier.
  FMA_DEVICE void Eliminate(int k, double ridge) const {
    for (int column = k + 1 + ThreadIndex(); column < dim_ + tokens_; column += ThreadCount()) {
      double pivot = Load(At(k, k)) + ridge;
      double element = Load(At(k, column));
      for (int j = 0; j < k; ++j) {
        const double factor = Load(At(j, k));
        pivot = std::fma(-factor, factor, pivot);
        element = std::fma(-factor, Load(At(j, column)), element);
      }
      Store(At(k, column), element / std::sqrt(pivot));
    }
    SyncThreads();
  }

  const DeviceAttention& attention_;
  const HeadCache<T>& cache_;
  const int dim_;
  const int tokens_;
  const Shared<double> squares_;  // [d]
  const Shared<double> spread_;   // [d]
  double* const matrix_;
  float* const novelty_;
};

}  // namespace fmaserver::kernels::cuda
