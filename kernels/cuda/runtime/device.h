// What a kernel's body may use. Bodies are in headers (*_kernel.h), which compile for the device
// and for anything else that offers the same names in a header that FMA_DEVICE_WORLD names: the
// block emulator of the tests, where every access is checked. The names:
//
//   ThreadIndex(), ThreadCount()          in the block, one dimension
//   BlockIndex(), BlockIndexY(), BlockCount()  in the grid, at most two dimensions
//   SyncThreads(), SyncWarp(mask)         barriers; between them nobody may read what another wrote
//   Shuffle, ShuffleXor, ShuffleDown      of values of 4 or 8 bytes, Ballot; with the mask of lanes
//   Load(p), LoadConstant(p), Store(p, v) global memory; LoadConstant: nobody writes it meanwhile
//   AtomicAdd(p, v), AtomicMax(p, v)      global memory
//   SharedArena, Shared<T>                the block's shared memory, in order of Take()
//   FastExp(x), SinCosPi(x, &s, &c)       single precision, right to a few units in the last place
//   PermuteBytes(bytes, selector)         byte i of the result is the one that the selector's i-th
//                                         four bits number, 0 to 3
//   AddProducts<kUpper>(pair, bytes, sum) sum + the products of two signed 16-bit numbers and the
//                                         two lower or upper of four signed bytes
//   FMA_DEVICE                            for every function that a body calls
//   FMA_UNROLL, FMA_NO_UNROLL             for the loop that follows; the latter saves registers
//
// A kernel is a struct of parameters with `static constexpr int kThreads`, `kName` and
// `FMA_DEVICE void operator()() const`; launch.h runs it. There is no static shared memory: a
// launcher adds up SharedBytes<T>(count) for the Take() calls of the body.
#pragma once

#include <cstdint>

namespace fmaserver::kernels::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr uint32_t kFullWarp = 0xFFFFFFFF;

/// Every array of a SharedArena starts at a multiple of this.
inline constexpr int kSharedAlignment = 16;

/// Bytes of a SharedArena that Take<T>(count) uses.
template <typename T>
constexpr int64_t SharedBytes(int64_t count) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  return (bytes + kSharedAlignment - 1) / kSharedAlignment * kSharedAlignment;
}

/// N elements that are loaded or stored at once; their address is a multiple of their size.
template <typename T, int N>
struct alignas(sizeof(T) * N) Vec {
  T lane[N];
};

}  // namespace fmaserver::kernels::cuda

#ifdef FMA_DEVICE_WORLD
#include FMA_DEVICE_WORLD
#else
#include "kernels/cuda/runtime/device_gpu.h"
#endif

namespace fmaserver::kernels::cuda {

FMA_DEVICE int LaneIndex() { return ThreadIndex() % kWarpSize; }
FMA_DEVICE int WarpIndex() { return ThreadIndex() / kWarpSize; }

/// The sum of `value` over the warp, in every lane.
template <typename T>
FMA_DEVICE T WarpSum(T value) {
  for (int step = kWarpSize / 2; step > 0; step /= 2) value += ShuffleXor(value, step);
  return value;
}

/// The largest `value` of the warp, in every lane.
template <typename T>
FMA_DEVICE T WarpMax(T value) {
  for (int step = kWarpSize / 2; step > 0; step /= 2) {
    const T other = ShuffleXor(value, step);
    value = other > value ? other : value;
  }
  return value;
}

}  // namespace fmaserver::kernels::cuda
