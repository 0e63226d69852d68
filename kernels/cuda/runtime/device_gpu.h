// device.h on the GPU: thin wrappers of what CUDA calls by other names.
#pragma once

#include <cstdint>

#define FMA_DEVICE __device__ __forceinline__
#define FMA_UNROLL _Pragma("unroll")
#define FMA_NO_UNROLL _Pragma("unroll 1")

namespace fmaserver::kernels::cuda {

FMA_DEVICE int ThreadIndex() { return static_cast<int>(threadIdx.x); }
FMA_DEVICE int ThreadCount() { return static_cast<int>(blockDim.x); }
FMA_DEVICE int64_t BlockIndex() { return blockIdx.x; }
FMA_DEVICE int64_t BlockIndexY() { return blockIdx.y; }
FMA_DEVICE int64_t BlockCount() { return gridDim.x; }

FMA_DEVICE void SyncThreads() { __syncthreads(); }
FMA_DEVICE void SyncWarp(uint32_t mask = kFullWarp) { __syncwarp(mask); }

template <typename T>
FMA_DEVICE T Shuffle(T value, int lane, uint32_t mask = kFullWarp) {
  return __shfl_sync(mask, value, lane);
}
template <typename T>
FMA_DEVICE T ShuffleXor(T value, int lanes, uint32_t mask = kFullWarp) {
  return __shfl_xor_sync(mask, value, lanes);
}
template <typename T>
FMA_DEVICE T ShuffleDown(T value, int lanes, uint32_t mask = kFullWarp) {
  return __shfl_down_sync(mask, value, lanes);
}
FMA_DEVICE uint32_t Ballot(bool predicate, uint32_t mask = kFullWarp) {
  return __ballot_sync(mask, predicate);
}

template <typename T>
FMA_DEVICE T Load(const T* from) {
  return *from;
}

/// Loads through the read-only path; types that __ldg does not know are loaded in pieces of types
/// that it knows.
template <typename T>
FMA_DEVICE T LoadConstant(const T* from) {
  if constexpr (sizeof(T) == 16) {
    const uint4 bits = __ldg(reinterpret_cast<const uint4*>(from));
    return reinterpret_cast<const T&>(bits);
  } else if constexpr (sizeof(T) == 8) {
    const uint2 bits = __ldg(reinterpret_cast<const uint2*>(from));
    return reinterpret_cast<const T&>(bits);
  } else if constexpr (sizeof(T) == 4) {
    const uint32_t bits = __ldg(reinterpret_cast<const uint32_t*>(from));
    return reinterpret_cast<const T&>(bits);
  } else {
    static_assert(sizeof(T) == 2);
    const uint16_t bits = __ldg(reinterpret_cast<const uint16_t*>(from));
    return reinterpret_cast<const T&>(bits);
  }
}

template <typename T>
FMA_DEVICE void Store(T* to, T value) {
  *to = value;
}
template <typename T>
FMA_DEVICE T AtomicAdd(T* to, T value) {
  return atomicAdd(to, value);
}
template <typename T>
FMA_DEVICE T AtomicMax(T* to, T value) {
  return atomicMax(to, value);
}

/// The block's shared memory, whose size is given at the launch.
FMA_DEVICE unsigned char* SharedBase() {
  extern __shared__ __align__(kSharedAlignment) unsigned char dynamic_shared[];
  return dynamic_shared;
}

/// An array in shared memory. Set and Get are plain accesses; AtomicAdd returns the old value. It
/// is kept as an offset, which takes one register where a pointer takes two.
template <typename T>
class Shared {
 public:
  FMA_DEVICE Shared(int offset, int count) : offset_(offset) { (void)count; }

  FMA_DEVICE T Get(int index) const { return *At<T>(index); }
  FMA_DEVICE void Set(int index, T value) const { *At<T>(index) = value; }
  FMA_DEVICE T AtomicAdd(int index, T value) const { return atomicAdd(At<T>(index), value); }

  /// One U in place of several elements from `index` on; aligned to its size.
  template <typename U>
  FMA_DEVICE U GetAs(int index) const {
    return *At<U>(index);
  }
  template <typename U>
  FMA_DEVICE void SetAs(int index, U value) const {
    *At<U>(index) = value;
  }
  /// The address in the form that instructions for shared memory need.
  FMA_DEVICE uint32_t Address(int index) const {
    return static_cast<uint32_t>(__cvta_generic_to_shared(At<T>(index)));
  }

 private:
  template <typename U>
  FMA_DEVICE U* At(int index) const {
    return reinterpret_cast<U*>(SharedBase() + offset_ + index * static_cast<int>(sizeof(T)));
  }

  int offset_;
};

class SharedArena {
 public:
  template <typename T>
  FMA_DEVICE Shared<T> Take(int count) {
    const int offset = used_;
    used_ += static_cast<int>(SharedBytes<T>(count));
    return Shared<T>(offset, count);
  }

 private:
  int used_ = 0;
};

FMA_DEVICE uint32_t PermuteBytes(uint32_t bytes, uint32_t selector) {
  return __byte_perm(bytes, 0, selector);
}
template <bool kUpper>
FMA_DEVICE int AddProducts(int pair, uint32_t bytes, int sum) {
  return kUpper ? __dp2a_hi(pair, static_cast<int>(bytes), sum)
                : __dp2a_lo(pair, static_cast<int>(bytes), sum);
}

FMA_DEVICE float FastExp(float x) { return __expf(x); }
FMA_DEVICE void SinCosPi(float half_turns, float* sine, float* cosine) {
  sincospif(half_turns, sine, cosine);
}

}  // namespace fmaserver::kernels::cuda
