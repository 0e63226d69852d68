#include "kernels/host/convert_slot.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <type_traits>
#include <vector>

#include "kernels/fma/archive_layout.h"
#include "kernels/fma/slot_layout.h"

namespace fmaserver::kernels {
namespace {

template <typename T>
constexpr bool kHasScales = std::is_same_v<T, int8_t>;

template <typename T>
float Number(T element) {
  if constexpr (kHasScales<T>) return static_cast<float>(element);
  if constexpr (!kHasScales<T>) return ToFloat(element);
}

/// The bits of magnitudes are in their order, and those of NaN are the largest.
template <typename T>
int32_t Magnitude(T element) {
  return std::bit_cast<int32_t>(Number(element)) & 0x7FFFFFFF;
}

/// The integer from -127 to 127 that is nearest to a number of up to 2^21, of ties the even one.
int8_t Nearest(float number) {
  constexpr float kNoFraction = 0x1.8p23F;  // a sum with it has no bits for one
  const int32_t nearest =
      std::bit_cast<int32_t>(number + kNoFraction) - std::bit_cast<int32_t>(kNoFraction);
  return static_cast<int8_t>(std::clamp(nearest, -127, 127));
}

template <typename To>
To Element(float number, float factor) {
  if constexpr (!kHasScales<To>) return FromFloat<To>(number * factor);
  if constexpr (kHasScales<To>) return factor > 0 ? Nearest(number * factor) : To{0};
}

/// `factor` of an index is what the number is multiplied by.
template <typename From, typename To, typename Factor>
void ConvertRow(const From* from, int64_t count, const Factor& factor, To* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = Element<To>(Number(from[i]), factor(i));
}

/// Where a head block of one type lies, and its arrays.
template <typename T>
struct Head {
  using Byte = std::conditional_t<std::is_const_v<T>, const std::byte, std::byte>;
  using Scale = std::conditional_t<std::is_const_v<T>, const BFloat16, BFloat16>;

  const SlotLayout& layout;
  Byte* bytes;

  /// A channel of the keys of the strip of columns from `column` on.
  T* Keys(int64_t column, int64_t channel) const {
    return reinterpret_cast<T*>(bytes) + layout.KeyIndex(column, channel);
  }
  T* Value(int64_t column) const {
    return reinterpret_cast<T*>(bytes + layout.values_offset) + column * layout.padded_dim;
  }
  Scale* KeyScales() const { return reinterpret_cast<Scale*>(bytes + layout.scales_offset); }
  Scale* ValueScales() const { return KeyScales() + layout.columns; }
};

/// One head block; of the two types at most one has scales.
template <typename From, typename To>
class HeadConverter {
 public:
  HeadConverter(Head<const From> from, Head<To> to) : from_(from), to_(to) {}

  void Keys() const {
    const int64_t columns = from_.layout.columns;
    const std::vector<int32_t> largest = LargestOfKeys();
    std::vector<float> factors(static_cast<size_t>(columns));
    for (int64_t c = 0; c < columns; ++c) {
      factors[c] =
          FactorOf(from_.KeyScales() + c, largest.empty() ? 0 : largest[c], to_.KeyScales() + c);
    }
    for (int64_t strip = 0; strip < columns; strip += SlotLayout::kLane) {
      const auto factor = [of = factors.data() + strip](int64_t c) { return of[c]; };
      for (int32_t channel = 0; channel < from_.layout.head_dim; ++channel) {
        ConvertRow(from_.Keys(strip, channel), SlotLayout::kLane, factor, to_.Keys(strip, channel));
      }
    }
  }

  void Values() const {
    const int64_t dim = from_.layout.padded_dim;
    for (int64_t column = 0; column < from_.layout.columns; ++column) {
      const From* value = from_.Value(column);
      int32_t largest = 0;
      if constexpr (kHasScales<To>) {
        for (int64_t c = 0; c < dim; ++c) largest = std::max(largest, Magnitude(value[c]));
      }
      const float factor =
          FactorOf(from_.ValueScales() + column, largest, to_.ValueScales() + column);
      ConvertRow(
          value, dim, [factor](int64_t) { return factor; }, to_.Value(column));
    }
  }

 private:
  /// Of every column; empty unless keys get scales.
  std::vector<int32_t> LargestOfKeys() const {
    if constexpr (!kHasScales<To>) return {};
    std::vector<int32_t> largest(static_cast<size_t>(from_.layout.columns));
    for (int64_t c = 0; c < from_.layout.columns; ++c) {
      for (int32_t channel = 0; channel < from_.layout.head_dim; ++channel) {
        largest[c] = std::max(largest[c], Magnitude(*from_.Keys(c, channel)));
      }
    }
    return largest;
  }

  /// What the numbers of a vector are multiplied by; writes its scale where it gets one.
  static float FactorOf(const BFloat16* from, int32_t largest, BFloat16* to) {
    if constexpr (kHasScales<From>) return ToFloat(*from);
    if constexpr (kHasScales<To>) {
      *to = ParkedScale(largest);
      return ToFloat(*to) > 0 ? 1.0F / ToFloat(*to) : 0.0F;
    }
    return 1.0F;
  }

  const Head<const From> from_;
  const Head<To> to_;
};

/// Sketches follow each other: numbers, then bytes that are copied.
template <typename From, typename To>
void ConvertSketches(int64_t count, const SketchLayout& from_layout, const std::byte* from,
                     const SketchLayout& to_layout, std::byte* to) {
  const int64_t numbers = from_layout.codes_offset / int64_t{sizeof(From)};
  const int64_t codes = std::min(from_layout.bytes - from_layout.codes_offset,
                                 to_layout.bytes - to_layout.codes_offset);
  for (int64_t i = 0; i < count; ++i, from += from_layout.bytes, to += to_layout.bytes) {
    ConvertRow(
        reinterpret_cast<const From*>(from), numbers, [](int64_t) { return 1.0F; },
        reinterpret_cast<To*>(to));
    std::copy_n(from + from_layout.codes_offset, codes, to + to_layout.codes_offset);
  }
}

template <typename T>
using SketchNumber = std::conditional_t<kHasScales<T>, BFloat16, T>;

/// The slots of a model in two types.
class SlotConverter {
 public:
  SlotConverter(const AttentionSpec& spec, int32_t layers, CacheType from, CacheType to)
      : from_(spec, layers, from),
        to_(spec, layers, to),
        sketches_(spec.GroupsInPlace() * ArchiveLayout(spec, layers, from).UnitsPerGroup()),
        from_sketch_(ArchiveLayout(spec, layers, from).Sketch()),
        to_sketch_(ArchiveLayout(spec, layers, to).Sketch()) {}

  template <typename From, typename To>
  void Convert(std::span<const std::byte> from, std::span<std::byte> to) const {
    assert(std::ssize(from) == from_.slot_bytes && std::ssize(to) == to_.slot_bytes);
    std::ranges::fill(to, std::byte{0});  // the gaps between arrays too
    for (int32_t layer = 0; layer < from_.num_layers; ++layer) {
      for (int32_t head = 0; head < from_.num_kv_heads; ++head) {
        ConvertHead<From, To>(from.data() + from_.HeadOffset(layer, head),
                              to.data() + to_.HeadOffset(layer, head));
      }
    }
  }

 private:
  template <typename From, typename To>
  void ConvertHead(const std::byte* from, std::byte* to) const {
    const HeadConverter<From, To> converter({from_, from}, {to_, to});
    converter.Keys();
    converter.Values();
    // Sums, A, positions and N have one size and order in all types.
    std::copy_n(from + from_.sums_offset, from_.sketches_offset - from_.sums_offset,
                to + to_.sums_offset);
    ConvertSketches<SketchNumber<From>, SketchNumber<To>>(sketches_, from_sketch_,
                                                          from + from_.sketches_offset, to_sketch_,
                                                          to + to_.sketches_offset);
  }

  const SlotLayout from_;
  const SlotLayout to_;
  const int64_t sketches_;  // of a head
  const SketchLayout from_sketch_;
  const SketchLayout to_sketch_;
};

/// Calls `function` with an element of the type.
template <typename Function>
void WithElement(CacheType type, const Function& function) {
  if (type == CacheType::kF32) return function(float{});
  if (type == CacheType::kBF16) return function(BFloat16{});
  return function(int8_t{});
}

}  // namespace

void ConvertSlot(const AttentionSpec& spec, int32_t layers, CacheType from_type,
                 std::span<const std::byte> from, CacheType to_type, std::span<std::byte> to) {
  if (from_type == to_type) {
    std::ranges::copy(from, to.begin());
    return;
  }
  const SlotConverter converter(spec, layers, from_type, to_type);
  WithElement(from_type, [&]<typename From>(From) {
    WithElement(to_type, [&]<typename To>(To) {
      if constexpr (!std::is_same_v<From, To>) converter.Convert<From, To>(from, to);
    });
  });
}

}  // namespace fmaserver::kernels
