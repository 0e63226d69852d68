// Sketches of units: how they are made of keys, and what they say about keys. docs/model.md,
// "Opened units"; how they lie: kernels/fma/archive_layout.h.

#if defined(FMA_KERNELS_CPU_SKETCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_SKETCH_INL_H_
#undef FMA_KERNELS_CPU_SKETCH_INL_H_
#else
#define FMA_KERNELS_CPU_SKETCH_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/load-inl.h"
#include "kernels/fma/archive_layout.h"
#include "kernels/fma/element.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

/// By code; the levels that are best for a normal distribution, in deviations, and where they meet.
inline constexpr float kLevels[4] = {0.453F, -0.453F, 1.51F, -1.51F};
inline constexpr float kBorder = 0.98F;

/// The same in steps of 0.151 deviations.
inline constexpr std::array<int16_t, 4> kLevelSteps = {3, -3, 10, -10};

/// The sum with a number of 16 bits has its nearest integer in the lowest bits.
inline constexpr float kRounds = 0x1.8p23F;

/// The keys of a unit in float32: [d, stride], a column is a key.
struct UnitKeys {
  float* data;
  int64_t stride;
  float* Channel(int64_t c) const { return data + c * stride; }
};

/// Makes the sketches of one model's units. T: the cache's element type.
template <typename T>
class Sketcher {
 public:
  Sketcher(const ArchiveLayout& layout, OpenScratch& scratch)
      : layout_(layout.Sketch()),
        dim_(layout.head_dim),
        tokens_(layout.unit_tokens),
        scratch_(scratch) {}

  /// Writes the sketch of `keys`, which are used up.
  void Make(UnitKeys keys, std::byte* sketch) const {
    auto* means = reinterpret_cast<T*>(sketch);
    auto* deviations = reinterpret_cast<T*>(sketch + layout_.deviation_offset);
    auto* factors = reinterpret_cast<T*>(sketch + layout_.factors_offset);
    double* squares = scratch_.squares.data();
    double* products = scratch_.products.data();
    std::fill_n(squares, tokens_, 0.0);
    std::fill_n(products, tokens_, 0.0);
    for (int64_t c = 0; c < dim_; ++c) {
      float* z = keys.Channel(c);
      // What is rounded here is what readers see, so all that follows is made for it.
      means[c] = FromFloat<T>(static_cast<float>(Sum(z) / static_cast<double>(tokens_)));
      const float mean = ToFloat(means[c]);
      for (int64_t i = 0; i < tokens_; ++i) z[i] -= mean;
      deviations[c] = FromFloat<T>(static_cast<float>(RootMeanSquare(z)));
      uint8_t* codes = Codes(sketch, c);
      if (c % 4 == 0) std::fill_n(codes, tokens_, uint8_t{0});
      Encode(z, ToFloat(deviations[c]), static_cast<int>(2 * (c % 4)), codes);
    }
    for (int64_t i = 0; i < tokens_; ++i) {
      const bool none = products[i] == 0;
      factors[i] = FromFloat<T>(none ? 0.0F : static_cast<float>(squares[i] / products[i]));
    }
  }

 private:
  uint8_t* Codes(std::byte* sketch, int64_t c) const {
    return reinterpret_cast<uint8_t*>(sketch + layout_.codes_offset) + c / 4 * tokens_;
  }
  double Sum(const float* z) const {
    double sum = 0;
    for (int64_t i = 0; i < tokens_; ++i) sum += z[i];
    return sum;
  }

  double RootMeanSquare(const float* z) const {
    double sum = 0;
    for (int64_t i = 0; i < tokens_; ++i) sum += static_cast<double>(z[i]) * z[i];
    return std::sqrt(sum / static_cast<double>(tokens_));
  }

  /// Adds one channel's code to every token's, and what the token's factor is made of.
  void Encode(const float* HWY_RESTRICT z, float deviation, int shift,
              uint8_t* HWY_RESTRICT codes) const {
    double* HWY_RESTRICT squares = scratch_.squares.data();
    double* HWY_RESTRICT products = scratch_.products.data();
    for (int64_t i = 0; i < tokens_; ++i) {
      const int below = z[i] < 0 ? 1 : 0;
      const int outer = std::abs(z[i]) < kBorder * deviation ? 0 : 2;
      codes[i] = static_cast<uint8_t>(codes[i] | (below | outer) << shift);
      squares[i] += static_cast<double>(z[i]) * z[i];
      products[i] += static_cast<double>(z[i]) * (kLevels[below | outer] * deviation);
    }
  }

  SketchLayout layout_;
  int64_t dim_;
  int64_t tokens_;
  OpenScratch& scratch_;
};

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
