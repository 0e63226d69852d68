// One warp's matrix product on tensor cores: C [16, 8] += A [16, 16] x B [16, 8], bfloat16 inputs,
// float32 sums (mma.sync.m16n8k16). Lane i holds, with g = i / 4 and t = i % 4, these elements
// (PTX ISA, "Matrix Fragments for mma.m16n8k16"); a pair has the lower index in its low half:
//
//   a.pair[0] = A[g][2t, 2t+1]      a.pair[1] = A[g+8][2t, 2t+1]
//   a.pair[2] = A[g][2t+8, 2t+9]    a.pair[3] = A[g+8][2t+8, 2t+9]
//   b.pair[0] = B[2t, 2t+1][g]      b.pair[1] = B[2t+8, 2t+9][g]
//   c.value[0..1] = C[g][2t, 2t+1]  c.value[2..3] = C[g+8][2t, 2t+1]
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

/// Every lane looks into the fragments of the others: those of its rows, and of its columns.
inline void MultiplyAdd(const FragmentA& a, const FragmentB& b, FragmentC* c,
                        const emulator::Site& site = emulator::Site::Current()) {
  struct Inputs {
    FragmentA a;
    FragmentB b;
  };
  const Inputs own = {a, b};
  const uint64_t* lanes = emulator::GatherWarp(reinterpret_cast<uint64_t>(&own), site);
  const auto half = [](uint32_t pair, int k) {
    return ToFloat(BFloat16{static_cast<uint16_t>(pair >> (k % 2 * 16))});
  };
  const int g = LaneIndex() / 4;
  const int t = LaneIndex() % 4;
  FragmentC sum = *c;
  for (int i = 0; i < 4; ++i) {
    const int row = i / 2;  // g or g + 8
    const int column = 2 * t + i % 2;
    for (int k = 0; k < 16; ++k) {
      const int in_quad = k % 8 / 2;
      const auto* from_a = reinterpret_cast<const Inputs*>(lanes[4 * g + in_quad]);
      const auto* from_b = reinterpret_cast<const Inputs*>(lanes[4 * column + in_quad]);
      sum.value[i] += half(from_a->a.pair[row + k / 8 * 2], k) * half(from_b->b.pair[k / 8], k);
    }
  }
  emulator::GatherWarp(0, site);  // no lane leaves while others still read its fragments
  *c = sum;
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
