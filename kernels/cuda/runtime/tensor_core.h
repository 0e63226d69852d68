// One warp's matrix product on tensor cores: C [16, 8] += A [16, 16] x B [16, 8], bfloat16 inputs,
// float32 sums (mma.sync.m16n8k16). Lane i holds, with g = i / 4 and t = i % 4, these elements
// (PTX ISA, "Matrix Fragments for mma.m16n8k16"); a pair has the lower index in its low half:
//
//   a.pair[0] = A[g][2t, 2t+1]      a.pair[1] = A[g+8][2t, 2t+1]
//   a.pair[2] = A[g][2t+8, 2t+9]    a.pair[3] = A[g+8][2t+8, 2t+9]
//   b.pair[0] = B[2t, 2t+1][g]      b.pair[1] = B[2t+8, 2t+9][g]
//   c.value[0..1] = C[g][2t, 2t+1]  c.value[2..3] = C[g+8][2t, 2t+1]
//
// The same of int8 with exact sums, C [16, 8] += A [16, 32] x B [32, 8] (mma.sync.m16n8k32): C as
// above, and four neighbours in a number, the lowest index in its low byte:
//
//   a.four[0] = A[g][4t..4t+3]      a.four[1] = A[g+8][4t..4t+3]
//   a.four[2] = A[g][4t+16..4t+19]  a.four[3] = A[g+8][4t+16..4t+19]
//   b.four[0] = B[4t..4t+3][g]      b.four[1] = B[4t+16..4t+19][g]
//
// LoadMatrices and LoadTransposed load four matrices [8, 8] from shared memory into the form of
// fragments: lane i names the row i % 8 of matrix i / 8, eight elements at a multiple of 16 bytes.
// A lane gets the elements [g][2t, 2t+1] of each, or [2t, 2t+1][g] transposed.
#pragma once

#include <cstdint>

#include "kernels/cuda/runtime/device.h"
#include "kernels/fma/element.h"

namespace fmaserver::kernels::cuda {

struct FragmentA {
  uint32_t pair[4];
};
struct FragmentB {
  uint32_t pair[2];
};
struct FragmentC {
  float value[4] = {};
};
struct BytesA {
  uint32_t four[4];
};
struct BytesB {
  uint32_t four[2];
};
struct IntegersC {
  int32_t value[4];
};

/// The numbers that a pair holds.
FMA_DEVICE float LowOfPair(uint32_t pair) {
  return ToFloat(BFloat16{static_cast<uint16_t>(pair & 0xFFFF)});
}
FMA_DEVICE float HighOfPair(uint32_t pair) {
  return ToFloat(BFloat16{static_cast<uint16_t>(pair >> 16)});
}

#ifdef __CUDACC__

/// Rounds to bfloat16, to nearest, ties to even.
FMA_DEVICE uint32_t PackPair(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

FMA_DEVICE void MultiplyAdd(const FragmentA& a, const FragmentB& b, FragmentC* c) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c->value[0]), "+f"(c->value[1]), "+f"(c->value[2]), "+f"(c->value[3])
      : "r"(a.pair[0]), "r"(a.pair[1]), "r"(a.pair[2]), "r"(a.pair[3]), "r"(b.pair[0]),
        "r"(b.pair[1]));
}

FMA_DEVICE void MultiplyAdd(const BytesA& a, const BytesB& b, IntegersC* c) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c->value[0]), "+r"(c->value[1]), "+r"(c->value[2]), "+r"(c->value[3])
      : "r"(a.four[0]), "r"(a.four[1]), "r"(a.four[2]), "r"(a.four[3]), "r"(b.four[0]),
        "r"(b.four[1]));
}

FMA_DEVICE void LoadMatrices(const Shared<BFloat16>& from, int row, uint32_t (&pairs)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(pairs[0]), "=r"(pairs[1]), "=r"(pairs[2]), "=r"(pairs[3])
               : "r"(from.Address(row))
               : "memory");
}

FMA_DEVICE void LoadTransposed(const Shared<BFloat16>& from, int row, uint32_t (&pairs)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(pairs[0]), "=r"(pairs[1]), "=r"(pairs[2]), "=r"(pairs[3])
               : "r"(from.Address(row))
               : "memory");
}

#else

inline uint32_t PackPair(float low, float high) {
  return FromFloat<BFloat16>(low).bits | static_cast<uint32_t>(FromFloat<BFloat16>(high).bits)
                                             << 16;
}

/// Every lane looks into the fragments of the others: those of its rows, and of its columns. A
/// number holds kPerWord elements, of which element(word, i) is the i-th.
template <int kPerWord, typename A, typename B, typename C, typename Element>
void MultiplyFragments(const A& a, const B& b, C* c, const Element& element,
                       const emulator::Site& site) {
  struct Words {
    uint32_t a[4];
    uint32_t b[2];
  };
  static_assert(sizeof(A) == sizeof(Words::a) && sizeof(B) == sizeof(Words::b));
  Words own;
  std::memcpy(own.a, &a, sizeof(own.a));
  std::memcpy(own.b, &b, sizeof(own.b));
  const uint64_t* lanes = emulator::GatherWarp(reinterpret_cast<uint64_t>(&own), site);
  const auto words = [lanes](int lane) { return reinterpret_cast<const Words*>(lanes[lane]); };
  const int g = LaneIndex() / 4;
  const int t = LaneIndex() % 4;
  C sum = *c;
  for (int i = 0; i < 4; ++i) {
    const int high_row = i / 2;  // g or g + 8
    const int column = 2 * t + i % 2;
    for (int k = 0; k < 8 * kPerWord; ++k) {
      const int in_quad = k / kPerWord % 4;
      const int half = k / (4 * kPerWord);
      sum.value[i] += element(words(4 * g + in_quad)->a[high_row + 2 * half], k % kPerWord) *
                      element(words(4 * column + in_quad)->b[half], k % kPerWord);
    }
  }
  emulator::GatherWarp(0, site);  // no lane leaves while others still read its fragments
  *c = sum;
}

inline void MultiplyAdd(const FragmentA& a, const FragmentB& b, FragmentC* c,
                        const emulator::Site& site = emulator::Site::Current()) {
  const auto half = [](uint32_t pair, int i) {
    return i == 0 ? LowOfPair(pair) : HighOfPair(pair);
  };
  MultiplyFragments<2>(a, b, c, half, site);
}

inline void MultiplyAdd(const BytesA& a, const BytesB& b, IntegersC* c,
                        const emulator::Site& site = emulator::Site::Current()) {
  const auto byte = [](uint32_t four, int i) { return int{static_cast<int8_t>(four >> (8 * i))}; };
  MultiplyFragments<4>(a, b, c, byte, site);
}

inline void LoadMatrices(const Shared<BFloat16>& from, int row, uint32_t (&pairs)[4]) {
  const int g = LaneIndex() / 4;
  const int t = LaneIndex() % 4;
  for (int matrix = 0; matrix < 4; ++matrix) {
    pairs[matrix] = from.GetAs<uint32_t>(Shuffle(row, 8 * matrix + g) + 2 * t);
  }
}

inline void LoadTransposed(const Shared<BFloat16>& from, int row, uint32_t (&pairs)[4]) {
  const int g = LaneIndex() / 4;
  const int t = LaneIndex() % 4;
  for (int matrix = 0; matrix < 4; ++matrix) {
    const int low = Shuffle(row, 8 * matrix + 2 * t) + g;
    const int high = Shuffle(row, 8 * matrix + 2 * t + 1) + g;
    pairs[matrix] = from.Get(low).bits | static_cast<uint32_t>(from.Get(high).bits) << 16;
  }
}

#endif

}  // namespace fmaserver::kernels::cuda
