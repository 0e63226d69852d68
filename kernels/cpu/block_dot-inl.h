// Sums of products of codes: four inputs at a time, a lane for each output. Included once per
// target, so it has no ordinary include guard.
//
// An Arithmetic multiplies unsigned codes of weights [lanes, 4] by four codes of x, which are the
// same for all lanes. It has
//   NibbleSum   a running sum for codes 0..15, begun by StartNibbles(start) and ended by
//               EndNibbles(sum, start), which is `start` plus the products
//   AddBytes    adds products with codes (0..255) - kBytesAreOver to a sum of int32

#if defined(FMA_KERNELS_CPU_BLOCK_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FMA_KERNELS_CPU_BLOCK_DOT_INL_H_
#undef FMA_KERNELS_CPU_BLOCK_DOT_INL_H_
#else
#define FMA_KERNELS_CPU_BLOCK_DOT_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/cpu/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace fmaserver::kernels::cpu::HWY_NAMESPACE {

using IntTag = hn::RebindToSigned<FloatTag>;
using IntVec = hn::Vec<IntTag>;

/// Four codes of x, as the bytes of every lane.
HWY_INLINE IntVec FourInputs(const int8_t* codes) {
  int32_t four = 0;
  std::memcpy(&four, codes, sizeof(four));
  return hn::Set(IntTag(), four);
}

/// Four codes of each of as many outputs as there are lanes.
HWY_INLINE IntVec FourWeights(const uint8_t* codes) {
  return hn::Load(IntTag(), reinterpret_cast<const int32_t*>(codes));
}

HWY_INLINE IntVec LowerNibbles(IntVec codes) {
  return hn::And(codes, hn::Set(IntTag(), 0x0F0F0F0F));
}
HWY_INLINE IntVec UpperNibbles(IntVec codes) { return LowerNibbles(hn::ShiftRight<4>(codes)); }

/// Codes 0..15 summed as bytes are.
template <class Arithmetic>
struct NibblesAreBytes {
  using NibbleSum = IntVec;

  static HWY_INLINE NibbleSum StartNibbles(IntVec start) { return start; }
  static HWY_INLINE NibbleSum AddNibbles(NibbleSum sum, IntVec weights, IntVec inputs) {
    return Arithmetic::AddBytes(sum, weights, inputs);
  }
  static HWY_INLINE IntVec EndNibbles(NibbleSum sum, IntVec /*start*/) { return sum; }
};

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2

/// Pairs of products as int16, which 8 groups of nibbles cannot exceed: 8 * 2 * 15 * 127 < 2^15.
struct PairArithmetic {
  static constexpr int32_t kBytesAreOver = 0;  // they are made signed
  using NibbleSum = IntVec;

#if HWY_TARGET == HWY_AVX3
  static HWY_INLINE IntVec PairProducts(IntVec weights, IntVec inputs) {
    return IntVec{_mm512_maddubs_epi16(weights.raw, inputs.raw)};
  }
  static HWY_INLINE IntVec AddPairs(IntVec pairs, IntVec sum) {
    return sum + IntVec{_mm512_madd_epi16(pairs.raw, _mm512_set1_epi16(1))};
  }
  static HWY_INLINE IntVec AddInt16(IntVec a, IntVec b) {
    return IntVec{_mm512_add_epi16(a.raw, b.raw)};
  }
  static HWY_INLINE IntVec Magnitudes(IntVec bytes) { return IntVec{_mm512_abs_epi8(bytes.raw)}; }
  static HWY_INLINE IntVec WithSigns(IntVec bytes, IntVec signs) {
    return IntVec{_mm512_mask_sub_epi8(bytes.raw, _mm512_movepi8_mask(signs.raw),
                                       _mm512_setzero_si512(), bytes.raw)};
  }
#else
  static HWY_INLINE IntVec PairProducts(IntVec weights, IntVec inputs) {
    return IntVec{_mm256_maddubs_epi16(weights.raw, inputs.raw)};
  }
  static HWY_INLINE IntVec AddPairs(IntVec pairs, IntVec sum) {
    return sum + IntVec{_mm256_madd_epi16(pairs.raw, _mm256_set1_epi16(1))};
  }
  static HWY_INLINE IntVec AddInt16(IntVec a, IntVec b) {
    return IntVec{_mm256_add_epi16(a.raw, b.raw)};
  }
  static HWY_INLINE IntVec Magnitudes(IntVec bytes) { return IntVec{_mm256_abs_epi8(bytes.raw)}; }
  static HWY_INLINE IntVec WithSigns(IntVec bytes, IntVec signs) {
    return IntVec{_mm256_sign_epi8(bytes.raw, signs.raw)};
  }
#endif

  static HWY_INLINE NibbleSum StartNibbles(IntVec /*start*/) { return hn::Zero(IntTag()); }
  static HWY_INLINE NibbleSum AddNibbles(NibbleSum sum, IntVec weights, IntVec inputs) {
    return AddInt16(sum, PairProducts(weights, inputs));
  }
  static HWY_INLINE IntVec EndNibbles(NibbleSum sum, IntVec start) { return AddPairs(sum, start); }

  /// A product of magnitudes up to 128 and 127 fits into int16 twice.
  static HWY_INLINE IntVec AddBytes(IntVec sum, IntVec weights, IntVec inputs) {
    const IntVec codes = hn::Xor(weights, hn::Set(IntTag(), static_cast<int32_t>(0x80808080U)));
    return AddPairs(PairProducts(Magnitudes(codes), WithSigns(inputs, codes)), sum);
  }
};

/// One instruction: of AVX-512 VNNI, or of AVX-VNNI, which has another encoding. Highway has no set
/// of instructions with either that every compiler accepts, so it is written out, for processors
/// that have it.
struct VnniArithmetic : NibblesAreBytes<VnniArithmetic> {
  static constexpr int32_t kBytesAreOver = 128;

  static HWY_INLINE IntVec AddBytes(IntVec sum, IntVec weights, IntVec inputs) {
#if HWY_TARGET == HWY_AVX3
    asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(weights.raw), "v"(inputs.raw));
#else
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.raw) : "x"(weights.raw), "x"(inputs.raw));
#endif
    return sum;
  }
};

#else

/// For any processor.
struct PlainArithmetic : NibblesAreBytes<PlainArithmetic> {
  static constexpr int32_t kBytesAreOver = 128;

  static HWY_INLINE IntVec AddBytes(IntVec sum, IntVec weights, IntVec inputs) {
    const hn::RebindToUnsigned<IntTag> du;
    const auto weight = [&](IntVec shifted) HWY_ATTR {
      return hn::BitCast(IntTag(), hn::ShiftRight<24>(hn::BitCast(du, shifted)));
    };
    sum = sum + weight(hn::ShiftLeft<24>(weights)) * hn::ShiftRight<24>(hn::ShiftLeft<24>(inputs));
    sum = sum + weight(hn::ShiftLeft<16>(weights)) * hn::ShiftRight<24>(hn::ShiftLeft<16>(inputs));
    sum = sum + weight(hn::ShiftLeft<8>(weights)) * hn::ShiftRight<24>(hn::ShiftLeft<8>(inputs));
    return sum + weight(weights) * hn::ShiftRight<24>(inputs);
  }
};

#endif

}  // namespace fmaserver::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
