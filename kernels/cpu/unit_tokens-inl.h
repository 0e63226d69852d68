// The tokens of the units of one KV head of an archive, in whichever type it keeps them:
// kernels/fma/archive_layout.h.

#if defined(FMA_KERNELS_CPU_UNIT_TOKENS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_UNIT_TOKENS_INL_H_
#undef FMA_KERNELS_CPU_UNIT_TOKENS_INL_H_
#else
#define FMA_KERNELS_CPU_UNIT_TOKENS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "hwy/highway.h"
#include "kernels/backend.h"
#include "kernels/cpu/cache_vectors-inl.h"
#include "kernels/cpu/rotary.h"
#include "kernels/cpu/sketch-inl.h"
#include "kernels/fma/archive_layout.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

class UnitTokens {
 public:
  /// `index`: ArchiveLayout::HeadIndex().
  UnitTokens(const ArchiveLayout& layout, std::span<ArchiveGroup* const> groups, int64_t index)
      : layout_(layout), groups_(groups), index_(index) {}

  std::byte* At(int64_t unit) const {
    const int64_t units = layout_.UnitsPerGroup();
    return groups_[unit / units]->tokens + index_ * layout_.HeadTokenBytes() +
           unit % units * layout_.UnitTokenBytes();
  }

  /// A unit's keys [d, u], which are not rotated, and its values [u, d]. T: the archive's type.
  template <typename T>
  KeyColumns<T> Keys(int64_t unit) const {
    return {reinterpret_cast<T*>(At(unit)), Scales<T>(unit), layout_.head_dim, layout_.unit_tokens};
  }
  template <typename T>
  ValueRows<T> Values(int64_t unit) const {
    const int64_t u = layout_.unit_tokens;
    BFloat16* scales = Scales<T>(unit);
    return {reinterpret_cast<T*>(At(unit)) + u * layout_.head_dim,
            scales == nullptr ? nullptr : scales + u, layout_.head_dim};
  }

  /// Sets `keys`, columns [0, u), to the keys of a unit. `turn`: by their places in their group;
  /// null: not at all.
  void ReadKeys(int64_t unit, const Rotary* turn, UnitKeys keys) const {
    WithElement(layout_.type, [&](auto element) {
      ReadKeysFrom(Keys<decltype(element)>(unit), unit, turn, keys);
    });
  }

  /// Sets `values` [u, D] to those of a unit.
  void ReadValues(int64_t unit, int64_t padded_dim, float* values) const {
    WithElement(layout_.type, [&](auto element) {
      const ValueRows<decltype(element)> rows = Values<decltype(element)>(unit);
      for (int64_t i = 0; i < layout_.unit_tokens; ++i) {
        const auto* HWY_RESTRICT from = rows.Row(i);
        float* HWY_RESTRICT to = values + i * padded_dim;
        for (int64_t c = 0; c < layout_.head_dim; ++c) to[c] = ToFloat(from[c]) * rows.Scale(i);
        std::fill(to + layout_.head_dim, to + padded_dim, 0.0F);
      }
    });
  }

  /// Writes the keys of a unit, or the value of one of its tokens: [D], as `key`, zeros behind the
  /// d-th number. `key` and `rounded` [D] are for working.
  void StoreKeys(int64_t unit, UnitKeys keys, float* key, int8_t* rounded) const {
    WithElement(layout_.type, [&](auto element) {
      const KeyColumns<decltype(element)> to = Keys<decltype(element)>(unit);
      for (int64_t token = 0; token < layout_.unit_tokens; ++token) {
        for (int64_t c = 0; c < layout_.head_dim; ++c) key[c] = keys.Channel(c)[token];
        to.Store(token, key, rounded);
      }
    });
  }
  void StoreValue(int64_t unit, int64_t token, const float* value, int8_t* rounded) const {
    WithElement(layout_.type, [&](auto element) {
      Values<decltype(element)>(unit).StoreUnpadded(token, value, rounded);
    });
  }

 private:
  template <typename T>
  BFloat16* Scales(int64_t unit) const {
    if (!kHasScales<T>) return nullptr;
    const int64_t numbers = 2 * int64_t{layout_.unit_tokens} * layout_.head_dim;
    return reinterpret_cast<BFloat16*>(At(unit) + numbers * int64_t{sizeof(T)});
  }

  template <typename T>
  void ReadKeysFrom(const KeyColumns<T>& from, int64_t unit, const Rotary* turn,
                    UnitKeys keys) const {
    const int64_t u = layout_.unit_tokens;
    const int64_t half = turn == nullptr ? 0 : turn->half();
    const int64_t place = unit % layout_.UnitsPerGroup() * u;
    for (int64_t pair = 0; pair < half; ++pair) {
      const T* HWY_RESTRICT from_low = from.Channel(pair);
      const T* HWY_RESTRICT from_high = from.Channel(half + pair);
      float* HWY_RESTRICT low = keys.Channel(pair);
      float* HWY_RESTRICT high = keys.Channel(half + pair);
      const float* HWY_RESTRICT cosines = turn->Offsets(pair) + place;
      const float* HWY_RESTRICT sines = turn->Offsets(half + pair) + place;
      for (int64_t i = 0; i < u; ++i) {
        const float own = ToFloat(from_low[i]) * from.Scale(i);
        const float other = ToFloat(from_high[i]) * from.Scale(i);
        low[i] = own * cosines[i] - other * sines[i];
        high[i] = other * cosines[i] + own * sines[i];
      }
    }
    for (int64_t c = 2 * half; c < layout_.head_dim; ++c) {
      from.ReadChannel(c, 0, u, keys.Channel(c));
    }
  }

  const ArchiveLayout& layout_;
  const std::span<ArchiveGroup* const> groups_;
  const int64_t index_;
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
