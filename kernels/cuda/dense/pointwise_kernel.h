// Operations of one element or one row each: activation, gathering and rounding of rows.
//
// The grid of each: rows * Chunks(cols) blocks, each for kThreads columns of one row, in one
// dimension because a grid's second dimension ends at 65,535.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda/dense/activation.h"
#include "kernels/cuda/runtime/element.h"
#include "kernels/fma/spec.h"

namespace fmaserver::kernels::cuda {

struct Pointwise {
  static constexpr int kThreads = 256;

  static constexpr int64_t Chunks(int64_t cols) { return (cols + kThreads - 1) / kThreads; }

  /// This thread's row, and its column, which may be past `cols`.
  struct Element {
    int64_t row;
    int64_t col;
  };
  FMA_DEVICE static Element Here(int64_t cols) {
    const int64_t chunks = Chunks(cols);
    return {BlockIndex() / chunks, BlockIndex() % chunks * kThreads + ThreadIndex()};
  }
};

/// out[i] = x[rows[i]]; see Backend::GatherRows.
struct GatherKernel : Pointwise {
  static constexpr const char* kName = "gather_rows";

  const int32_t* rows = nullptr;  // [rows of out]
  const float* x = nullptr;
  float* out = nullptr;
  int64_t cols = 0;

  FMA_DEVICE void operator()() const {
    const Element here = Here(cols);
    if (here.col >= cols) return;
    const int64_t from = Load(rows + here.row);
    Store(out + here.row * cols + here.col, Load(x + from * cols + here.col));
  }
};

/// See Backend::Activate. `cols` is the number of columns of `out`; swiglu's input has twice as
/// many.
struct ActivateKernel : Pointwise {
  static constexpr const char* kName = "activate";

  const float* in = nullptr;
  float* out = nullptr;
  int64_t cols = 0;
  MlpKind kind = MlpKind::kGelu;

  FMA_DEVICE void operator()() const {
    const Element here = Here(cols);
    if (here.col >= cols) return;
    const bool gated = kind == MlpKind::kSwiglu;
    const float* from = in + here.row * (gated ? 2 * cols : cols) + here.col;
    const float up = gated ? Load(from + cols) : 0.0F;
    Store(out + here.row * cols + here.col, Activated(kind, Load(from), up));
  }
};

/// out = x rounded to T, its rows padded with zeros from `cols` to `pitch`. The grid's columns are
/// `pitch`. A finite value that does not fit T raises *overflow.
template <typename T>
struct RoundKernel : Pointwise {
  static constexpr const char* kName = "round";

  const float* x = nullptr;  // [rows, cols]
  T* out = nullptr;          // [rows, pitch]
  int64_t cols = 0;
  int64_t pitch = 0;
  int32_t* overflow = nullptr;

  FMA_DEVICE void operator()() const {
    const Element here = Here(pitch);
    if (here.col >= pitch) return;
    const float value = here.col < cols ? Load(x + here.row * cols + here.col) : 0.0F;
    const T rounded = FromFloat<T>(value);
    if (std::isfinite(value) && !std::isfinite(AsFloat(rounded))) AtomicMax(overflow, 1);
    Store(out + here.row * pitch + here.col, rounded);
  }
};

}  // namespace fmaserver::kernels::cuda
