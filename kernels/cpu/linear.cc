#include "kernels/cpu/linear.h"

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cpu/scalar.h"
#include "kernels/cpu/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear.cc"
#include "hwy/foreach_target.h"  // must come first

#include "hwy/highway.h"
#include "kernels/cpu/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::cpu::HWY_NAMESPACE {

constexpr int64_t kPanel = PackedLinear::kPanel;

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

template <int kRows, typename T>
HWY_INLINE void PanelRows(const Matrix& x, int64_t row, const PackedLinear& weights, int64_t panel,
                          bool accumulate, const Matrix& y) {
  // As many accumulators as registers allow: 24 of 32 with 16 lanes, 12 of 16 with 8.
  constexpr int64_t kLanes = hn::MaxLanes(FloatTag());
  constexpr int kVecs = kLanes == 16 ? 4 : (kRows == 1 ? 8 : 2);
  const auto* data = reinterpret_cast<const T*>(weights.Panel(panel));
  for (int64_t column = 0; column < kPanel; column += kVecs * kLanes) {
    FloatVec sum[kRows][kVecs];
    Tile<kRows, kVecs>(x, row, data + column, sum);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVecs; ++v) {
        const int64_t out = panel * kPanel + column + v * kLanes;
        const float* bias = weights.bias == nullptr ? nullptr : weights.bias.get() + out;
        if (out < y.cols)
          StoreOutputs(sum[r][v], bias, accumulate, y.cols - out, y.Row(row + r) + out);
      }
    }
  }
}

template <typename T>
void PanelAllRows(const Matrix& x, const PackedLinear& weights, int64_t panel, bool accumulate,
                  const Matrix& y) {
  int64_t row = 0;
  for (; row + 6 <= x.rows; row += 6) PanelRows<6, T>(x, row, weights, panel, accumulate, y);
  for (; row + 3 <= x.rows; row += 3) PanelRows<3, T>(x, row, weights, panel, accumulate, y);
  for (; row < x.rows; ++row) PanelRows<1, T>(x, row, weights, panel, accumulate, y);
}

void LinearPanel(const Matrix& x, const PackedLinear& weights, int64_t panel, bool accumulate,
                 const Matrix& y) {
  switch (weights.dtype) {
    case DType::kF32:
      return PanelAllRows<float>(x, weights, panel, accumulate, y);
    case DType::kF16:
      return PanelAllRows<Float16>(x, weights, panel, accumulate, y);
    case DType::kBF16:
      return PanelAllRows<BFloat16>(x, weights, panel, accumulate, y);
  }
}

}  // namespace fmaserver::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace fmaserver::cpu {
namespace {

HWY_EXPORT(LinearPanel);

template <typename T>
void PackRows(const HostMatrix& source, int64_t first_out, PackedLinear& packed) {
  auto* data = reinterpret_cast<T*>(packed.data.get());
  constexpr int64_t kPanel = PackedLinear::kPanel;
  for (int64_t row = 0; row < source.rows; ++row) {
    const int64_t out = first_out + row;
    T* column = data + (out / kPanel * packed.in) * kPanel + out % kPanel;
    for (int64_t i = 0; i < source.cols; ++i) {
      if constexpr (std::is_same_v<T, float>) {
        column[i * kPanel] = ElementAsFloat(source, row * source.cols + i);
      } else {
        column[i * kPanel] = LoadUnaligned<T>(source.data, row * source.cols + i);
      }
    }
  }
}

void PackRows(const HostMatrix& source, int64_t first_out, PackedLinear& packed) {
  switch (packed.dtype) {
    case DType::kF32:
      return PackRows<float>(source, first_out, packed);
    case DType::kF16:
      return PackRows<Float16>(source, first_out, packed);
    case DType::kBF16:
      return PackRows<BFloat16>(source, first_out, packed);
  }
}

float WeightAt(const PackedLinear& table, int64_t out, int64_t in) {
  constexpr int64_t kPanel = PackedLinear::kPanel;
  const HostMatrix panel{table.Panel(out / kPanel), table.dtype, table.in, kPanel};
  return ElementAsFloat(panel, in * kPanel + out % kPanel);
}

}  // namespace

absl::StatusOr<std::unique_ptr<PackedLinear>> PackedLinear::Pack(
    std::span<const HostLinear> stacked) {
  auto packed = std::make_unique<PackedLinear>();
  packed->in = stacked.front().weight.cols;
  packed->dtype = stacked.front().weight.dtype;
  bool any_bias = false;
  for (const HostLinear& part : stacked) {
    packed->out += part.weight.rows;
    if (part.weight.dtype != packed->dtype) packed->dtype = DType::kF32;
    any_bias = any_bias || part.bias.data != nullptr;
  }
  const int64_t padded_out = packed->panels() * kPanel;
  const int64_t bytes = padded_out * packed->in * SizeOf(packed->dtype);
  packed->data = TryAllocateAligned<std::byte>(bytes);
  if (any_bias) packed->bias = TryAllocateAligned<float>(padded_out);
  if (packed->data == nullptr || (any_bias && packed->bias == nullptr)) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", bytes, " bytes of weights"));
  }
  std::memset(packed->data.get(), 0, static_cast<size_t>(bytes));
  if (any_bias) std::fill_n(packed->bias.get(), padded_out, 0.0F);
  int64_t first_out = 0;
  for (const HostLinear& part : stacked) {
    PackRows(part.weight, first_out, *packed);
    for (int64_t i = 0; part.bias.data != nullptr && i < part.weight.rows; ++i) {
      packed->bias[first_out + i] = ElementAsFloat(part.bias, i);
    }
    first_out += part.weight.rows;
  }
  return packed;
}

void Linear(ThreadPool& pool, Matrix x, const PackedLinear& weights, bool accumulate, Matrix y) {
  pool.ParallelFor(weights.panels(), [&](int64_t panel, int) {
    HWY_DYNAMIC_DISPATCH(LinearPanel)(x, weights, panel, accumulate, y);
  });
}

void EmbedRows(ThreadPool& pool, std::span<const int64_t> ids, const PackedLinear& table,
               bool accumulate, Matrix x) {
  pool.ParallelFor(x.rows, [&](int64_t row, int) {
    float* out = x.Row(row);
    for (int64_t i = 0; i < x.cols; ++i) {
      const float value = WeightAt(table, ids[row], i);
      out[i] = accumulate ? out[i] + value : value;
    }
  });
}

}  // namespace fmaserver::cpu
#endif  // HWY_ONCE
