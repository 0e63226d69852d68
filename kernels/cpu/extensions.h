// What a processor may have beside its set of vector instructions, and products use when it has it.
#pragma once

namespace fmaserver::kernels::cpu {

struct StripOnTiles;
struct StripesOnTiles;

struct Extensions {
  /// Those of this processor that the system lets the process use.
  static Extensions OfProcessor();

  bool avx512_vnni = false;
  bool avx_vnni = false;
  /// Products on matrix tiles (Intel AMX) with AVX-512; null: none.
  void (*multiply_strip)(const StripOnTiles& work) = nullptr;      ///< integers (block_linear.h)
  void (*multiply_stripes)(const StripesOnTiles& work) = nullptr;  ///< bfloat16 (tile_linear.h)
};

}  // namespace fmaserver::kernels::cpu
