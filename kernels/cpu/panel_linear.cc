#include "kernels/cpu/panel_linear.h"

#include <algorithm>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "kernels/cpu/simd.h"
#include "kernels/host/host_element.h"
#include "kernels/host/linear.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/panel_linear.cc"
#include "hwy/foreach_target.h"  // must come first

#include "hwy/highway.h"
#include "kernels/cpu/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

constexpr int64_t kPanel = PanelLinear::kPanel;

/// One tile: kRows rows of x times kVecs vectors of outputs of a panel.
template <int kRows, int kVecs, typename T>
HWY_INLINE void Tile(const Matrix& x, int64_t row, const T* HWY_RESTRICT weights,
                     FloatVec (&sum)[kRows][kVecs]) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t in = x.cols;
  const float* HWY_RESTRICT first = x.Row(row);
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) sum[r][v] = hn::Zero(d);
  }
  for (int64_t i = 0; i < in; ++i) {
    FloatVec w[kVecs];
    for (int v = 0; v < kVecs; ++v) w[v] = LoadFloats(weights + i * kPanel + v * lanes);
    for (int r = 0; r < kRows; ++r) {
      const FloatVec input = hn::Set(d, first[r * in + i]);
      for (int v = 0; v < kVecs; ++v) sum[r][v] = hn::MulAdd(input, w[v], sum[r][v]);
    }
  }
}

/// Adds the bias, and y itself when accumulating, and stores the columns that exist.
HWY_INLINE void StoreOutputs(FloatVec sum, const float* bias, bool accumulate, int64_t columns,
                             float* HWY_RESTRICT y) {
  const FloatTag d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  if (bias != nullptr) sum = hn::Add(sum, hn::Load(d, bias));
  if (columns >= lanes) {
    if (accumulate) sum = hn::Add(sum, hn::LoadU(d, y));
    hn::StoreU(sum, d, y);
    return;
  }
  HWY_ALIGN float tail[16];
  hn::Store(sum, d, tail);
  for (int64_t c = 0; c < columns; ++c) y[c] = accumulate ? tail[c] + y[c] : tail[c];
}

/// Rows that share the loads of weights: with vectors of VecsOf() outputs they take as many sums as
/// registers allow, 24 of 32 with 16 lanes and 12 of 16 with 8.
constexpr int64_t kTileRows = 6;

constexpr int VecsOf(int rows) {
  if (hn::MaxLanes(FloatTag()) == 16) return 4;
  return rows == 1 ? 8 : (rows == 2 ? 4 : 2);
}

template <int kRows, typename T>
HWY_INLINE void PanelRows(const Matrix& x, int64_t row, const PanelLinear& weights, int64_t panel,
                          bool accumulate, const Matrix& y) {
  constexpr int64_t kLanes = hn::MaxLanes(FloatTag());
  constexpr int kVecs = VecsOf(kRows);
  const auto* data = reinterpret_cast<const T*>(weights.Panel(panel));
  for (int64_t column = 0; column < kPanel; column += kVecs * kLanes) {
    FloatVec sum[kRows][kVecs];
    Tile<kRows, kVecs>(x, row, data + column, sum);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVecs; ++v) {
        const int64_t out = panel * kPanel + column + v * kLanes;
        if (out >= y.cols) continue;
        StoreOutputs(sum[r][v], weights.BiasFrom(out), accumulate, y.cols - out,
                     y.Row(row + r) + out);
      }
    }
  }
}

/// All rows in the fewest tiles, which are as equal as they can be: the fewer rows a tile has, the
/// more each of them costs.
template <typename T>
void PanelAllRows(const Matrix& x, const PanelLinear& weights, int64_t panel, bool accumulate,
                  const Matrix& y) {
  int64_t tiles = (x.rows + kTileRows - 1) / kTileRows;
  for (int64_t row = 0; row < x.rows; --tiles) {
    const int64_t rows = (x.rows - row + tiles - 1) / tiles;
    const auto take = [&]<int kRows>(std::integral_constant<int, kRows>) HWY_ATTR {
      if (rows == kRows) PanelRows<kRows, T>(x, row, weights, panel, accumulate, y);
    };
    take(std::integral_constant<int, 1>());
    take(std::integral_constant<int, 2>());
    take(std::integral_constant<int, 3>());
    take(std::integral_constant<int, 4>());
    take(std::integral_constant<int, 5>());
    take(std::integral_constant<int, kTileRows>());
    row += rows;
  }
}

void LinearPanel(const Matrix& x, const PanelLinear& weights, int64_t panel, bool accumulate,
                 const Matrix& y) {
  switch (weights.format()) {
    case WeightFormat::kF32:
      return PanelAllRows<float>(x, weights, panel, accumulate, y);
    case WeightFormat::kF16:
      return PanelAllRows<Float16>(x, weights, panel, accumulate, y);
    case WeightFormat::kBF16:
      return PanelAllRows<BFloat16>(x, weights, panel, accumulate, y);
    case WeightFormat::kInt8:
    case WeightFormat::kInt4:
      return;  // BlockLinear's
  }
}

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fmaserver::kernels::cpu {
namespace {

HWY_EXPORT(LinearPanel);

/// Writes [in, kPanel]: a few inputs of every row after each other, so that what is written stays
/// in the cache until its lines are full. Outputs past `rows` are zero.
template <typename T>
void PackPanel(std::span<const StackedRow> rows, int64_t in, std::byte* to) {
  constexpr int64_t kPanel = PanelLinear::kPanel;
  constexpr int64_t kInputs = 64;
  auto* panel = reinterpret_cast<T*>(to);
  if (std::ssize(rows) < kPanel) std::fill_n(panel, in * kPanel, T{});
  for (int64_t first = 0; first < in; first += kInputs) {
    const int64_t end = std::min(first + kInputs, in);
    for (int64_t out = 0; out < std::ssize(rows); ++out) {
      const HostMatrix& weight = *rows[out].weight;
      const int64_t start = rows[out].row * in;
      for (int64_t i = first; i < end; ++i) {
        if constexpr (std::is_same_v<T, float>) {
          panel[i * kPanel + out] = ElementAsFloat(weight, start + i);
        } else {
          panel[i * kPanel + out] = LoadUnaligned<T>(weight.data, start + i);
        }
      }
    }
  }
}

void PackPanel(std::span<const StackedRow> rows, int64_t in, WeightFormat format, std::byte* to) {
  switch (format) {
    case WeightFormat::kF32:
      return PackPanel<float>(rows, in, to);
    case WeightFormat::kF16:
      return PackPanel<Float16>(rows, in, to);
    case WeightFormat::kBF16:
      return PackPanel<BFloat16>(rows, in, to);
    case WeightFormat::kInt8:
    case WeightFormat::kInt4:
      return;  // BlockLinear's
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<PanelLinear>> PanelLinear::Pack(std::span<const HostLinear> stacked,
                                                               ForEach for_each) {
  auto packed = std::make_unique<PanelLinear>();
  if (absl::Status status = packed->TakeShapeAndBias(stacked); !status.ok()) return status;
  const int64_t panel_bytes = kPanel * packed->in * SizeOf(packed->format_);
  auto data = AllocateWeights(packed->panels() * panel_bytes);
  if (!data.ok()) return data.status();
  packed->data_ = *std::move(data);
  const std::vector<StackedRow> rows = RowsOf(stacked);
  for_each(packed->panels(), [&](int64_t panel) {
    const int64_t first = panel * kPanel;
    const int64_t outs = std::min(kPanel, packed->out - first);
    PackPanel(std::span(rows).subspan(first, outs), packed->in, packed->format_,
              packed->data_.get() + panel * panel_bytes);
  });
  return packed;
}

void PanelLinear::Multiply(ThreadPool& pool, Matrix x, bool accumulate, Matrix y) const {
  pool.ParallelFor(panels(), [&](int64_t panel, int) {
    HWY_DYNAMIC_DISPATCH(LinearPanel)(x, *this, panel, accumulate, y);
  });
}

float PanelLinear::At(int64_t o, int64_t i) const {
  return ElementAsFloat({Panel(o / kPanel), format_, in, kPanel}, i * kPanel + o % kPanel);
}

}  // namespace fmaserver::kernels::cpu
#endif  // HWY_ONCE
