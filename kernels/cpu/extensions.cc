#include "kernels/cpu/extensions.h"

#include "hwy/targets.h"
#include "kernels/cpu/simd.h"

#if HWY_ARCH_X86_64
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/cpu/strip_on_tiles.h"
#include "kernels/cpu/stripes_on_tiles.h"
#include "kernels/cpu/tiles.h"
#endif

namespace fmaserver::kernels::cpu {

#if HWY_ARCH_X86_64

namespace {

/// The registers of a leaf of CPUID; zeros when there is none.
struct Leaf {
  Leaf(unsigned leaf, unsigned part) { __get_cpuid_count(leaf, part, &eax, &ebx, &ecx, &edx); }

  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
};

/// Asks the system for the tiles' state, which threads have only then.
bool MayUseTiles() {
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM, Linux 5.16
  constexpr int kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

Extensions Extensions::OfProcessor() {
  constexpr unsigned kAvxVnni = 1U << 4;        // of eax, leaf 7, part 1
  constexpr unsigned kTileBFloat16 = 1U << 22;  // of edx, leaf 7, part 0
  constexpr unsigned kTile = 1U << 24;
  constexpr unsigned kTileInt8 = 1U << 25;
  Extensions found;
  found.avx512_vnni = __builtin_cpu_supports("avx512vnni") > 0;
  found.avx_vnni = (Leaf(7, 1).eax & kAvxVnni) != 0;
  const unsigned tiles = Leaf(7, 0).edx;
  if ((hwy::SupportedTargets() & HWY_AVX3) == 0 || (tiles & kTile) == 0) return found;
  static const bool may_use_tiles = MayUseTiles();
  if (!may_use_tiles) return found;
  if ((tiles & kTileInt8) != 0) found.multiply_strip = MultiplyStripOnTiles<ProcessorTiles>;
  if ((tiles & kTileBFloat16) != 0) found.multiply_stripes = MultiplyStripesOnTiles<ProcessorTiles>;
  return found;
}

#else

Extensions Extensions::OfProcessor() { return {}; }

#endif

}  // namespace fmaserver::kernels::cpu
