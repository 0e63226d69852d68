// The tile registers of Intel AMX: eight matrices of up to 16 rows of up to 64 bytes, and
// instructions that multiply them ("Intel 64 and IA-32 Architectures Software Developer's Manual",
// volume 2, TDPBSSD and TDPBF16PS). Kernels on tiles are templates over what has these registers:
// the processor here, plain loops in tests/kernels/cpu/emulated_tiles.h.
#pragma once

#include <cstdint>

#include "hwy/detect_targets.h"

namespace fmaserver::kernels::cpu {

inline constexpr int kTileRegisters = 8;
inline constexpr int64_t kTileRows = 16;
inline constexpr int64_t kTileRowBytes = 64;

#if HWY_ARCH_X86_64

/// Of functions with vectors of AVX-512, all that kernels on tiles need beside the tiles.
#define FMA_TILE_CODE __attribute__((target("avx512f,avx512bw")))

/// The shapes of the tiles, as LDTILECFG reads them. Tiles without a shape cannot be used.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  void Shape(int tile, int64_t of_rows, int64_t of_bytes) {
    rows[tile] = static_cast<uint8_t>(of_rows);
    row_bytes[tile] = static_cast<uint16_t>(of_bytes);
  }
};
static_assert(sizeof(TileConfig) == 64);

/// The registers of the thread that calls. Between Configure() and Release() the shapes hold.
struct ProcessorTiles {
  static void Configure(const TileConfig& config) { asm volatile("ldtilecfg %0" : : "m"(config)); }
  static void Release() { asm volatile("tilerelease"); }

  template <int kTile>
  static void Zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }

  /// Rows are `stride` bytes apart.
  template <int kTile>
  static void Load(const void* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void Store(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
  }

  /// sum [M, N] of int32 += a [M, 4 K] of int8 times b [K, N, 4] of int8.
  template <int kSum, int kA, int kB>
  static void MultiplyBytes() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
  /// sum [M, N] of float32 += a [M, 2 K] of bfloat16 times b [K, N, 2] of bfloat16.
  template <int kSum, int kA, int kB>
  static void MultiplyBFloat16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kA), "i"(kB));
  }
};

#endif  // HWY_ARCH_X86_64

}  // namespace fmaserver::kernels::cpu
