#include "tests/kernels/cpu/emulated_tiles.h"

#include <atomic>
#include <cfloat>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/cpu/strip_on_tiles.h"
#include "kernels/cpu/stripes_on_tiles.h"
#include "kernels/cpu/tiles.h"

namespace fmaserver::testing {

#if HWY_ARCH_X86_64

namespace {

using kernels::BFloat16;
using kernels::cpu::kTileRegisters;
using kernels::cpu::kTileRowBytes;
using kernels::cpu::kTileRows;
using kernels::cpu::TileConfig;

std::atomic<int64_t> g_byte_products{0};

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "emulated tiles: %s\n", what);
  std::abort();
}

struct Tile {
  uint8_t rows = 0;
  uint16_t row_bytes = 0;
  alignas(64) std::byte data[kTileRows][kTileRowBytes] = {};

  template <typename T>
  T Get(int64_t row, int64_t i) const {
    T value;
    std::memcpy(&value, &data[row][i * sizeof(T)], sizeof(T));
    return value;
  }
  template <typename T>
  void Set(int64_t row, int64_t i, T value) {
    std::memcpy(&data[row][i * sizeof(T)], &value, sizeof(T));
  }
};

/// Numbers below the normal ones are zeros to a product of bfloat16.
float Flushed(float value) {
  return std::abs(value) < FLT_MIN ? std::copysign(0.0F, value) : value;
}
float Flushed(BFloat16 value) { return Flushed(kernels::ToFloat(value)); }

struct EmulatedTiles {
  static void Configure(const TileConfig& config) {
    Require(config.palette == 1 && config.start_row == 0, "palette 1 from row 0 on is supported");
    for (int i = 0; i < 16; ++i) {
      const bool none = config.rows[i] == 0 && config.row_bytes[i] == 0;
      const bool fits = config.rows[i] != 0 && config.rows[i] <= kTileRows &&
                        config.row_bytes[i] != 0 && config.row_bytes[i] <= kTileRowBytes;
      Require(none || (fits && i < kTileRegisters), "a shape is impossible");
      if (i < kTileRegisters) tiles[i] = {config.rows[i], config.row_bytes[i]};
    }
  }
  static void Release() {
    for (Tile& tile : tiles) tile = {};
  }

  template <int kTile>
  static void Zero() {
    Clear(Configured(kTile));
  }

  template <int kTile>
  static void Load(const void* from, int64_t stride) {
    Tile& tile = Configured(kTile);
    Clear(tile);
    for (int64_t row = 0; row < tile.rows; ++row) {
      std::memcpy(tile.data[row], static_cast<const std::byte*>(from) + row * stride,
                  tile.row_bytes);
    }
  }
  template <int kTile>
  static void Store(void* to, int64_t stride) {
    const Tile& tile = Configured(kTile);
    for (int64_t row = 0; row < tile.rows; ++row) {
      std::memcpy(static_cast<std::byte*>(to) + row * stride, tile.data[row], tile.row_bytes);
    }
  }

  template <int kSum, int kA, int kB>
  static void MultiplyBytes() {
    Tile& sum = Operands(kSum, kA, kB);
    const Tile& a = tiles[kA];
    const Tile& b = tiles[kB];
    for (int64_t m = 0; m < sum.rows; ++m) {
      for (int64_t n = 0; n < sum.row_bytes / 4; ++n) {
        auto total = sum.Get<int32_t>(m, n);
        for (int64_t k = 0; k < a.row_bytes; ++k) {
          total += a.Get<int8_t>(m, k) * b.Get<int8_t>(k / 4, 4 * n + k % 4);
        }
        sum.Set(m, n, total);
      }
    }
    ++g_byte_products;
  }

  /// Even and odd inputs are summed apart, and the two sums are then added.
  template <int kSum, int kA, int kB>
  static void MultiplyBFloat16() {
    Tile& sum = Operands(kSum, kA, kB);
    const Tile& a = tiles[kA];
    const Tile& b = tiles[kB];
    for (int64_t m = 0; m < sum.rows; ++m) {
      for (int64_t n = 0; n < sum.row_bytes / 4; ++n) {
        float parts[2] = {};
        for (int64_t i = 0; i < a.row_bytes / 2; ++i) {
          float& part = parts[i % 2];
          part = Flushed(std::fma(Flushed(a.Get<BFloat16>(m, i)),
                                  Flushed(b.Get<BFloat16>(i / 2, 2 * n + i % 2)), part));
        }
        sum.Set(m, n, Flushed(Flushed(sum.Get<float>(m, n)) + Flushed(parts[0] + parts[1])));
      }
    }
  }

 private:
  static Tile& Configured(int tile) {
    Require(tiles[tile].rows != 0, "a tile without a shape is used");
    return tiles[tile];
  }
  static void Clear(Tile& tile) { std::memset(tile.data, 0, sizeof(tile.data)); }

  /// The tile of sums, after the checks of a product.
  static Tile& Operands(int sum_tile, int a_tile, int b_tile) {
    Require(sum_tile != a_tile && sum_tile != b_tile && a_tile != b_tile, "a tile is used twice");
    Tile& sum = Configured(sum_tile);
    const Tile& a = Configured(a_tile);
    const Tile& b = Configured(b_tile);
    Require(sum.rows == a.rows && sum.row_bytes == b.row_bytes && a.row_bytes == 4 * b.rows &&
                sum.row_bytes % 4 == 0,
            "shapes do not fit together");
    return sum;
  }

  static thread_local Tile tiles[kTileRegisters];
};

thread_local Tile EmulatedTiles::tiles[kTileRegisters];

}  // namespace

kernels::cpu::Extensions WithEmulatedTiles(kernels::cpu::Extensions extensions) {
  extensions.multiply_strip = kernels::cpu::MultiplyStripOnTiles<EmulatedTiles>;
  extensions.multiply_stripes = kernels::cpu::MultiplyStripesOnTiles<EmulatedTiles>;
  return extensions;
}

int64_t EmulatedByteProducts() { return g_byte_products; }

#else

kernels::cpu::Extensions WithEmulatedTiles(kernels::cpu::Extensions extensions) {
  return extensions;
}

int64_t EmulatedByteProducts() { return 0; }

#endif

}  // namespace fmaserver::testing
