// The host's side of device.h, for the block emulator: every name forwards to tests/emulator, which
// checks bounds, unwritten reads, races and barriers, counts bytes, and ends the process with a
// message when a kernel does what it must not.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define FMA_DEVICE inline
#define FMA_UNROLL
#define FMA_NO_UNROLL

namespace fmaserver::kernels::cuda {

namespace emulator {

/// A line of a kernel, for messages; as a default argument it is the caller's line.
struct Site {
  const char* file;
  int line;
  static constexpr Site Current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

enum class Access : uint8_t { kLoad, kStore, kAtomic };
enum class WarpOperation : uint8_t { kSync, kShuffle, kBallot, kGather };

/// The position of the running fiber in its block, and of its block in the grid.
struct Coordinates {
  int thread = 0;
  int threads = 0;
  int64_t block_x = 0;
  int64_t block_y = 0;
  int64_t blocks_x = 0;
};
const Coordinates& Current();

void TouchGlobal(const void* address, int64_t bytes, Access access, const Site& site);
void TouchShared(const void* address, int64_t bytes, Access access, const Site& site);

/// Takes [used, used + bytes) of the block's shared memory.
void* TakeShared(int64_t used, int64_t bytes, const Site& site);
[[noreturn]] void FailIndex(int64_t index, int64_t count, const Site& site);

void MeetBlock(const Site& site);
/// Waits for the lanes of `mask`. Returns the value of `lane` or, for a ballot, the lanes whose
/// value is not 0.
uint64_t MeetWarp(WarpOperation operation, uint32_t mask, uint64_t value, int lane,
                  const Site& site);
/// Waits for the whole warp. Returns the value of each lane, valid until this lane's next warp
/// operation.
const uint64_t* GatherWarp(uint64_t value, const Site& site);

}  // namespace emulator

inline int ThreadIndex() { return emulator::Current().thread; }
inline int ThreadCount() { return emulator::Current().threads; }
inline int64_t BlockIndex() { return emulator::Current().block_x; }
inline int64_t BlockIndexY() { return emulator::Current().block_y; }
inline int64_t BlockCount() { return emulator::Current().blocks_x; }

inline void SyncThreads(const emulator::Site& site = emulator::Site::Current()) {
  emulator::MeetBlock(site);
}
inline void SyncWarp(uint32_t mask = kFullWarp,
                     const emulator::Site& site = emulator::Site::Current()) {
  emulator::MeetWarp(emulator::WarpOperation::kSync, mask, 0, 0, site);
}

template <typename T>
T Shuffle(T value, int lane, uint32_t mask = kFullWarp,
          const emulator::Site& site = emulator::Site::Current()) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = emulator::MeetWarp(emulator::WarpOperation::kShuffle, mask, bits, lane % kWarpSize, site);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}
template <typename T>
T ShuffleXor(T value, int lanes, uint32_t mask = kFullWarp,
             const emulator::Site& site = emulator::Site::Current()) {
  return Shuffle(value, (ThreadIndex() % kWarpSize) ^ lanes, mask, site);
}
template <typename T>
T ShuffleDown(T value, int lanes, uint32_t mask = kFullWarp,
              const emulator::Site& site = emulator::Site::Current()) {
  const int lane = ThreadIndex() % kWarpSize;
  return Shuffle(value, lane + lanes < kWarpSize ? lane + lanes : lane, mask, site);
}
inline uint32_t Ballot(bool predicate, uint32_t mask = kFullWarp,
                       const emulator::Site& site = emulator::Site::Current()) {
  return static_cast<uint32_t>(
      emulator::MeetWarp(emulator::WarpOperation::kBallot, mask, predicate ? 1 : 0, 0, site));
}

template <typename T>
T Load(const T* from, const emulator::Site& site = emulator::Site::Current()) {
  emulator::TouchGlobal(from, sizeof(T), emulator::Access::kLoad, site);
  return *from;
}
template <typename T>
T LoadConstant(const T* from, const emulator::Site& site = emulator::Site::Current()) {
  return Load(from, site);
}
template <typename T>
void Store(T* to, T value, const emulator::Site& site = emulator::Site::Current()) {
  emulator::TouchGlobal(to, sizeof(T), emulator::Access::kStore, site);
  *to = value;
}
template <typename T>
T AtomicAdd(T* to, T value, const emulator::Site& site = emulator::Site::Current()) {
  emulator::TouchGlobal(to, sizeof(T), emulator::Access::kAtomic, site);
  const T before = *to;
  *to = before + value;
  return before;
}
template <typename T>
T AtomicMax(T* to, T value, const emulator::Site& site = emulator::Site::Current()) {
  emulator::TouchGlobal(to, sizeof(T), emulator::Access::kAtomic, site);
  const T before = *to;
  *to = before > value ? before : value;
  return before;
}

template <typename T>
class Shared {
 public:
  Shared(T* data, int count) : data_(data), count_(count) {}

  T Get(int index, const emulator::Site& site = emulator::Site::Current()) const {
    Touch(index, 1, emulator::Access::kLoad, site);
    return data_[index];
  }
  void Set(int index, T value, const emulator::Site& site = emulator::Site::Current()) const {
    Touch(index, 1, emulator::Access::kStore, site);
    data_[index] = value;
  }
  T AtomicAdd(int index, T value, const emulator::Site& site = emulator::Site::Current()) const {
    Touch(index, 1, emulator::Access::kAtomic, site);
    const T before = data_[index];
    data_[index] = before + value;
    return before;
  }
  template <typename U>
  U GetAs(int index, const emulator::Site& site = emulator::Site::Current()) const {
    TouchAs<U>(index, emulator::Access::kLoad, site);
    U value;
    std::memcpy(&value, data_ + index, sizeof(U));
    return value;
  }
  template <typename U>
  void SetAs(int index, U value, const emulator::Site& site = emulator::Site::Current()) const {
    TouchAs<U>(index, emulator::Access::kStore, site);
    std::memcpy(data_ + index, &value, sizeof(U));
  }

 private:
  void Touch(int index, int count, emulator::Access access, const emulator::Site& site) const {
    if (index < 0 || index > count_ - count) emulator::FailIndex(index, count_, site);
    emulator::TouchShared(data_ + index, int64_t{count} * sizeof(T), access, site);
  }

  template <typename U>
  void TouchAs(int index, emulator::Access access, const emulator::Site& site) const {
    static_assert(sizeof(U) % sizeof(T) == 0);
    Touch(index, sizeof(U) / sizeof(T), access, site);
    if (reinterpret_cast<uintptr_t>(data_ + index) % alignof(U) != 0) {
      emulator::FailIndex(index, count_, site);
    }
  }

  T* data_;
  int count_;
};

class SharedArena {
 public:
  template <typename T>
  Shared<T> Take(int count, const emulator::Site& site = emulator::Site::Current()) {
    void* data = emulator::TakeShared(used_, SharedBytes<T>(count), site);
    used_ += SharedBytes<T>(count);
    return Shared<T>(static_cast<T*>(data), count);
  }

 private:
  int64_t used_ = 0;
};

inline uint32_t PermuteBytes(uint32_t bytes, uint32_t selector) {
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t from = (selector >> (4 * i)) & 3;
    result |= ((bytes >> (8 * from)) & 0xFF) << (8 * i);
  }
  return result;
}
template <bool kUpper>
int AddProducts(int pair, uint32_t bytes, int sum) {
  for (int i = 0; i < 2; ++i) {
    const auto number = static_cast<int16_t>(static_cast<uint32_t>(pair) >> (16 * i));
    const auto byte = static_cast<int8_t>(bytes >> (8 * i + (kUpper ? 16 : 0)));
    sum += number * byte;
  }
  return sum;
}

inline float FastExp(float x) { return std::exp(x); }
inline void SinCosPi(float half_turns, float* sine, float* cosine) {
  constexpr double kPi = 3.141592653589793;
  *sine = static_cast<float>(std::sin(half_turns * kPi));
  *cosine = static_cast<float>(std::cos(half_turns * kPi));
}

}  // namespace fmaserver::kernels::cuda
