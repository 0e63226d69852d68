// Keys and values as a cache keeps them, and how float32 becomes them. kernels/fma/cache_type.h
// says how integers are rounded.

#if defined(FMA_KERNELS_CPU_CACHE_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_CACHE_VECTORS_INL_H_
#undef FMA_KERNELS_CPU_CACHE_VECTORS_INL_H_
#else
#define FMA_KERNELS_CPU_CACHE_VECTORS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/key_matrix.h"
#include "kernels/cpu/load-inl.h"
#include "kernels/cpu/prefetch.h"
#include "kernels/cpu/seen_columns.h"
#include "kernels/fma/cache_scale.h"
#include "kernels/fma/cache_type.h"
#include "kernels/fma/element.h"
#include "kernels/fma/slot_layout.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// Whether elements of this type need scales.
template <typename T>
inline constexpr bool kHasScales = std::is_same_v<T, int8_t>;

/// Calls `use` with an element of type `type`.
template <typename Use>
void WithElement(CacheType type, const Use& use) {
  switch (type) {
    case CacheType::kF32:
      return use(float{});
    case CacheType::kBF16:
      return use(BFloat16{});
    case CacheType::kInt8:
      return use(int8_t{});
  }
}

/// The numbers of sketches (SketchTypeOf) beside elements of this type.
template <typename T>
using SketchNumber = std::conditional_t<kHasScales<T>, BFloat16, T>;

/// Rounds `n` numbers, a multiple of SlotLayout::kLane, to multiples of the scale that it returns.
inline BFloat16 RoundVector(const float* HWY_RESTRICT x, int64_t n, int8_t* HWY_RESTRICT out) {
  const FloatTag d;
  const hn::RebindToSigned<FloatTag> integers;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  // As integers, magnitudes are in the same order, and NaN is the largest.
  auto largest = hn::Zero(integers);
  for (int64_t c = 0; c < n; c += lanes) {
    largest = hn::Max(largest, hn::BitCast(integers, hn::Abs(hn::Load(d, x + c))));
  }
  const BFloat16 scale = ScaleFor(hn::GetLane(hn::MaxOfLanes(integers, largest)));
  if (!(ToFloat(scale) > 0)) {
    std::fill_n(out, n, int8_t{0});
    return scale;
  }
  const FloatVec inverse = hn::Set(d, 1.0F / ToFloat(scale));
  for (int64_t c = 0; c < n; c += lanes) {
    const auto nearest = hn::NearestInt(hn::Mul(hn::Load(d, x + c), inverse));
    const hn::Rebind<int8_t, FloatTag> bytes;
    hn::StoreU(hn::DemoteTo(bytes, nearest), bytes, out + c);
  }
  return scale;
}

/// Keys, a column each: a matrix [d, stride], or strips of columns as in a slot. T: their type of
/// element.
template <typename T>
class KeyColumns {
 public:
  KeyColumns(T* numbers, BFloat16* scales, int64_t dim, int64_t stride)
      : numbers_(numbers), scales_(scales), dim_(dim), matrix_(KeyMatrix<T>::Of(numbers, stride)) {}
  /// Those of a slot.
  KeyColumns(T* numbers, BFloat16* scales, int64_t dim)
      : numbers_(numbers),
        scales_(scales),
        dim_(dim),
        matrix_{numbers, SlotLayout::kLane, dim * SlotLayout::kLane} {}

  /// The matrix from column `column` on, a multiple of SlotLayout::kLane.
  KeyMatrix<T> From(int64_t column) const {
    return {matrix_.At(column), matrix_.channel_step, matrix_.strip_step};
  }
  /// Of a matrix [d, stride].
  const T* Channel(int64_t c) const { return numbers_ + c * matrix_.channel_step; }
  float Scale(int64_t column) const {
    if constexpr (kHasScales<T>) return ToFloat(scales_[column]);
    return 1.0F;
  }
  const BFloat16* scales() const { return scales_; }

  /// Has the keys of these columns of a slot on their way.
  HWY_INLINE void Fetch(std::span<const ColumnStretch> stretches) const {
    for (const ColumnStretch& stretch : stretches) {
      Prefetch(reinterpret_cast<const std::byte*>(matrix_.At(stretch.begin)),
               (stretch.end - stretch.begin) * dim_ * int64_t{sizeof(T)});
    }
  }

  /// `key` [D], zeros behind the d-th number; `rounded` [D] is for working.
  void Store(int64_t column, const float* key, int8_t* rounded) const {
    T* const to = Numbers(column);
    if constexpr (kHasScales<T>) {
      scales_[column] = RoundVector(key, SlotLayout::RoundUp(dim_, SlotLayout::kLane), rounded);
      for (int64_t c = 0; c < dim_; ++c) to[c * matrix_.channel_step] = rounded[c];
    } else {
      for (int64_t c = 0; c < dim_; ++c) to[c * matrix_.channel_step] = FromFloat<T>(key[c]);
    }
  }

  /// Sets the first d numbers of `key`.
  void Load(int64_t column, float* key) const {
    const T* const from = matrix_.At(column);
    const float scale = Scale(column);
    for (int64_t c = 0; c < dim_; ++c) key[c] = ToFloat(from[c * matrix_.channel_step]) * scale;
  }

  /// Sets to[i] to channel c of column first + i, for `count` columns.
  template <typename Number>
  void ReadChannel(int64_t c, int64_t first, int64_t count, Number* HWY_RESTRICT to) const {
    while (count > 0) {
      const int64_t piece = std::min(count, SlotLayout::kLane - first % SlotLayout::kLane);
      const T* HWY_RESTRICT from = matrix_.At(first) + c * matrix_.channel_step;
      for (int64_t i = 0; i < piece; ++i) to[i] = ToFloat(from[i]) * Scale(first + i);
      first += piece;
      to += piece;
      count -= piece;
    }
  }

  /// Copies the columns first + places[i] to the columns from `to` on.
  template <typename Places>
  void CopyTo(int64_t to, int64_t first, const Places& places) const {
    for (const auto place : places) {
      const T* const from = matrix_.At(first + place);
      T* const copy = Numbers(to);
      for (int64_t c = 0; c < dim_; ++c) {
        copy[c * matrix_.channel_step] = from[c * matrix_.channel_step];
      }
      if constexpr (kHasScales<T>) scales_[to] = scales_[first + place];
      ++to;
    }
  }

 private:
  T* Numbers(int64_t column) const { return numbers_ + (matrix_.At(column) - numbers_); }

  T* const numbers_;
  BFloat16* const scales_;  // null where elements have none
  const int64_t dim_;
  const KeyMatrix<T> matrix_;
};

/// Values [., D]: a row is a value. T: their type of element.
template <typename T>
class ValueRows {
 public:
  ValueRows(T* numbers, BFloat16* scales, int64_t padded_dim)
      : numbers_(numbers), scales_(scales), dim_(padded_dim) {}

  const T* data() const { return numbers_; }
  float Scale(int64_t row) const {
    if constexpr (kHasScales<T>) return ToFloat(scales_[row]);
    return 1.0F;
  }
  const T* Row(int64_t row) const { return numbers_ + row * dim_; }
  const BFloat16* scales() const { return scales_; }

  /// Has the values of these columns on their way.
  HWY_INLINE void Fetch(std::span<const ColumnRun> runs) const {
    for (const ColumnRun& run : runs) {
      Prefetch(reinterpret_cast<const std::byte*>(Row(run.column)),
               run.count * dim_ * int64_t{sizeof(T)});
    }
  }

  /// `value` [D].
  void Store(int64_t row, const float* value) const {
    T* numbers = numbers_ + row * dim_;
    if constexpr (kHasScales<T>) {
      scales_[row] = RoundVector(value, dim_, numbers);
    } else {
      for (int64_t c = 0; c < dim_; ++c) numbers[c] = FromFloat<T>(value[c]);
    }
  }

  /// The same where rows have no padding; `rounded` [D] is for working.
  void StoreUnpadded(int64_t row, const float* value, int8_t* rounded) const {
    if constexpr (kHasScales<T>) {
      scales_[row] = RoundVector(value, SlotLayout::RoundUp(dim_, SlotLayout::kLane), rounded);
      std::copy_n(rounded, dim_, numbers_ + row * dim_);
    } else {
      Store(row, value);
    }
  }

  /// Row `to` becomes row `row` of `from`, of which it may have less.
  void CopyFrom(const ValueRows& from, int64_t row, int64_t to) const {
    std::copy_n(from.Row(row), dim_, numbers_ + to * dim_);
    if constexpr (kHasScales<T>) scales_[to] = from.scales_[row];
  }

 private:
  T* const numbers_;
  BFloat16* const scales_;  // null where elements have none
  const int64_t dim_;
};

template <typename T>
BFloat16* ScalesOf(const SlotLayout& layout, std::byte* head) {
  return kHasScales<T> ? reinterpret_cast<BFloat16*>(head + layout.scales_offset) : nullptr;
}

/// Those of a head block.
template <typename T>
KeyColumns<T> KeysOf(const SlotLayout& layout, std::byte* head) {
  return {reinterpret_cast<T*>(head), ScalesOf<T>(layout, head), layout.head_dim};
}
template <typename T>
ValueRows<T> ValuesOf(const SlotLayout& layout, std::byte* head) {
  BFloat16* scales = ScalesOf<T>(layout, head);
  return {reinterpret_cast<T*>(head + layout.values_offset),
          scales == nullptr ? nullptr : scales + layout.columns, layout.padded_dim};
}

/// out = numbers * scales, each of `count`, a multiple of SlotLayout::kLane. `out` may be
/// `numbers`.
inline void MultiplyBy(const BFloat16* scales, int64_t count, const float* numbers, float* out) {
  const FloatTag d;
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(hn::Lanes(d))) {
    hn::Store(hn::Mul(hn::Load(d, numbers + i), LoadFloats(scales + i)), d, out + i);
  }
}

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
