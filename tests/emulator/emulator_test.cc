// The emulator itself: what kernels may do works, and what they must not do is caught.
#include <cstdint>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/runtime/launch.h"
#include "tests/emulator/emulator.h"

namespace fmaserver::kernels::cuda {
namespace {

/// Uploads `input`, runs `kernel` (which reads `in` and writes `out`), returns `outputs` ints.
template <typename Kernel>
std::vector<int> RunOnce(Kernel kernel, int64_t blocks, int64_t shared_bytes,
                         const std::vector<int>& input, int64_t outputs) {
  auto stream = *Stream::Create();
  const auto bytes = static_cast<int64_t>(input.size() * sizeof(int));
  auto in = *Memory::Allocate(Memory::Kind::kDevice, bytes);
  auto out = *Memory::Allocate(Memory::Kind::kDevice, outputs * static_cast<int64_t>(sizeof(int)));
  EXPECT_TRUE(stream->CopyToDevice(in.data(), input.data(), bytes).ok());
  kernel.in = in.As<int>();
  kernel.out = out.As<int>();
  EXPECT_TRUE(Launch(*stream, {blocks, 1, shared_bytes}, kernel).ok());
  std::vector<int> result(outputs, -1);
  EXPECT_TRUE(stream->CopyToHost(result.data(), out.data(), out.bytes()).ok());
  EXPECT_TRUE(stream->Synchronize().ok());
  return result;
}

struct Base {
  static constexpr int kThreads = 64;
  static constexpr const char* kName = "test";
  const int* in = nullptr;
  int* out = nullptr;
};

std::vector<int> Counting(int n) {
  std::vector<int> values(n);
  for (int i = 0; i < n; ++i) values[i] = i;
  return values;
}

/// Each block reverses its 64 numbers through shared memory.
template <bool kBarrier>
struct Reverse : Base {
  FMA_DEVICE void operator()() const {
    SharedArena arena;
    const Shared<int> numbers = arena.Take<int>(kThreads);
    const int64_t base = BlockIndex() * kThreads;
    numbers.Set(ThreadIndex(), Load(in + base + ThreadIndex()));
    if constexpr (kBarrier) SyncThreads();
    Store(out + base + ThreadIndex(), numbers.Get(kThreads - 1 - ThreadIndex()));
  }
};

TEST(EmulatorTest, BarriersOrderSharedMemory) {
  const auto out = RunOnce(Reverse<true>(), 9, SharedBytes<int>(64), Counting(9 * 64), 9 * 64);
  for (int i = 0; i < 9 * 64; ++i) ASSERT_EQ(out[i], i / 64 * 64 + 63 - i % 64);
}

TEST(EmulatorDeathTest, MissingBarrier) {
  EXPECT_DEATH(RunOnce(Reverse<false>(), 1, SharedBytes<int>(64), Counting(64), 64),
               "nobody wrote|race in shared memory");
}

/// Writes the same value again while others may still read it: every value is right, and yet it is
/// a race.
struct SameValueRace : Base {
  FMA_DEVICE void operator()() const {
    SharedArena arena;
    const Shared<int> number = arena.Take<int>(1);
    number.Set(0, 7);
    SyncThreads();
    Store(out + ThreadIndex(), number.Get(0));
  }
};

TEST(EmulatorDeathTest, RaceThatHappensToGiveTheRightValue) {
  EXPECT_DEATH(RunOnce(SameValueRace(), 1, SharedBytes<int>(1), Counting(1), 64),
               "race in shared memory: no barrier since the store");
}

template <bool kSync>
struct WarpExchange : Base {
  FMA_DEVICE void operator()() const {
    SharedArena arena;
    const Shared<int> numbers = arena.Take<int>(kThreads);
    numbers.Set(ThreadIndex(), ThreadIndex());
    if constexpr (kSync) SyncWarp();
    const int neighbour = numbers.Get(ThreadIndex() ^ 1);
    Store(out + ThreadIndex(), WarpSum(neighbour) + 1000 * WarpMax(ThreadIndex()));
  }
};

TEST(EmulatorTest, WarpBarriersAndShuffles) {
  const auto out = RunOnce(WarpExchange<true>(), 1, SharedBytes<int>(64), Counting(1), 64);
  for (int i = 0; i < 64; ++i) ASSERT_EQ(out[i], i < 32 ? 496 + 31'000 : 1520 + 63'000);
}

TEST(EmulatorDeathTest, MissingWarpBarrier) {
  EXPECT_DEATH(RunOnce(WarpExchange<false>(), 1, SharedBytes<int>(64), Counting(1), 64),
               "nobody wrote|race in shared memory");
}

struct VotesAndAtomics : Base {
  FMA_DEVICE void operator()() const {
    const uint32_t odd = Ballot(ThreadIndex() % 2 == 1);
    AtomicAdd(out, ThreadIndex());
    AtomicMax(out + 1, ThreadIndex());
    if (ThreadIndex() == 0) Store(out + 2, static_cast<int>(odd == 0xAAAAAAAA));
    const uint32_t low = 0x0000FFFF;
    if (LaneIndex() < 16) {
      const int last = Shuffle(ThreadIndex(), 15, low);
      const int next = ShuffleXor(ThreadIndex(), 1, low);
      if (ThreadIndex() == 3) Store(out + 3, last * 100 + next);
    }
  }
};

TEST(EmulatorTest, VotesAtomicsAndPartialWarps) {
  auto stream = *Stream::Create();
  auto out = *Memory::Allocate(Memory::Kind::kDevice, 4 * sizeof(int));
  EXPECT_TRUE(stream->Fill(out.data(), 0, out.bytes()).ok());
  VotesAndAtomics kernel;
  kernel.out = out.As<int>();
  EXPECT_TRUE(Launch(*stream, {1}, kernel).ok());
  std::vector<int> result(4, -1);
  EXPECT_TRUE(stream->CopyToHost(result.data(), out.data(), out.bytes()).ok());
  EXPECT_EQ(result[0], -1) << "nothing runs before somebody waits";
  EXPECT_TRUE(stream->Synchronize().ok());
  EXPECT_EQ(result, (std::vector<int>{2016, 63, 1, 1502}));
}

struct GlobalOutOfBounds : Base {
  FMA_DEVICE void operator()() const { Store(out + ThreadIndex() + 1, 0); }
};
struct SharedOutOfBounds : Base {
  FMA_DEVICE void operator()() const { SharedArena().Take<int>(8).Set(ThreadIndex() - 1, 0); }
};
struct TooMuchShared : Base {
  FMA_DEVICE void operator()() const { SharedArena().Take<int>(9); }
};

TEST(EmulatorDeathTest, OutOfBounds) {
  EXPECT_DEATH(RunOnce(GlobalOutOfBounds(), 1, 0, Counting(1), 64), "outside of every allocation");
  EXPECT_DEATH(RunOnce(SharedOutOfBounds(), 1, 32, Counting(1), 64),
               "index .* of a shared array of 8");
  EXPECT_DEATH(RunOnce(TooMuchShared(), 1, 32, Counting(1), 64), "taken, the launch gave 32");
}

struct UnwrittenGlobal : Base {
  FMA_DEVICE void operator()() const { Store(out, Load(out + 1)); }
};
struct UnwrittenShared : Base {
  FMA_DEVICE void operator()() const { Store(out, SharedArena().Take<int>(1).Get(0)); }
};

TEST(EmulatorDeathTest, UnwrittenMemory) {
  EXPECT_DEATH(RunOnce(UnwrittenGlobal(), 1, 0, Counting(1), 2),
               "load of global memory that nobody");
  EXPECT_DEATH(RunOnce(UnwrittenShared(), 1, 16, Counting(1), 2),
               "load of shared memory that nobody");
}

/// Every block adds up what another one writes.
struct BlocksRace : Base {
  static constexpr int kThreads = 1;
  FMA_DEVICE void operator()() const {
    Store(out + BlockIndex(), 1);
    if (BlockIndex() == 1) Store(out + 2, Load(in) + Load(out));
  }
};
struct BlocksWriteTheSame : Base {
  FMA_DEVICE void operator()() const {
    if (ThreadIndex() == 0) Store(out, 1);
  }
};

TEST(EmulatorDeathTest, RaceBetweenBlocks) {
  EXPECT_DEATH(RunOnce(BlocksRace(), 2, 0, Counting(1), 3), "nobody wrote|race in global memory");
  EXPECT_DEATH(RunOnce(BlocksWriteTheSame(), 2, 0, Counting(1), 3), "race in global memory");
}

struct DifferentBarriers : Base {
  FMA_DEVICE void operator()() const {
    if (ThreadIndex() < 32) {
      SyncThreads();
    } else {
      SyncThreads();
    }
  }
};
struct BarrierInOneWarp : Base {
  FMA_DEVICE void operator()() const {
    if (ThreadIndex() < 32) SyncThreads();
    if (ThreadIndex() >= 32) SyncWarp(0x1);
  }
};
struct LaneMissing : Base {
  FMA_DEVICE void operator()() const {
    if (LaneIndex() != 5) Store(out + ThreadIndex(), WarpSum(1));
  }
};
struct ShuffleFromOutside : Base {
  FMA_DEVICE void operator()() const {
    if (LaneIndex() < 16) Shuffle(1, 20, 0xFFFF);
  }
};

TEST(EmulatorDeathTest, BarriersThatCannotComplete) {
  EXPECT_DEATH(RunOnce(DifferentBarriers(), 1, 0, Counting(1), 64), "wait at different barriers");
  EXPECT_DEATH(RunOnce(BarrierInOneWarp(), 1, 0, Counting(1), 64), "mask lacks its own lane");
  EXPECT_DEATH(RunOnce(LaneMissing(), 1, 0, Counting(1), 64), "lane 5, which has ended|for ever");
  EXPECT_DEATH(RunOnce(ShuffleFromOutside(), 1, 0, Counting(1), 64), "outside of its mask");
}

/// Lanes at a warp operation while the rest wait at a block barrier: nobody can go on.
struct Deadlock : Base {
  FMA_DEVICE void operator()() const {
    if (ThreadIndex() == 0) SyncWarp(0x3);
    SyncThreads();
  }
};

TEST(EmulatorDeathTest, Deadlock) {
  EXPECT_DEATH(RunOnce(Deadlock(), 1, 0, Counting(1), 64), "waits for ever");
}

struct CopyVectors : Base {
  FMA_DEVICE void operator()() const {
    using Four = Vec<int, 4>;
    const auto* from = reinterpret_cast<const Four*>(in);
    auto* to = reinterpret_cast<Four*>(out);
    if (ThreadIndex() < 4) Store(to + ThreadIndex(), LoadConstant(from + ThreadIndex()));
    if (ThreadIndex() == 0) Load(in);
  }
};

TEST(EmulatorTest, TrafficIsCounted) {
  emulator::TrafficByKernel().clear();
  EXPECT_EQ(RunOnce(CopyVectors(), 1, 0, Counting(16), 16), Counting(16));
  const emulator::Traffic traffic = emulator::TrafficByKernel()["test"];
  EXPECT_EQ(traffic.launches, 1);
  EXPECT_EQ(traffic.loaded_bytes, 64) << "what is loaded again is not counted";
  EXPECT_EQ(traffic.stored_bytes, 64);
  EXPECT_EQ(traffic.loaded_sectors, 2);
  EXPECT_EQ(traffic.stored_sectors, 2);
}

TEST(EmulatorTest, GraphsRepeatWhatWasRecorded) {
  auto stream = *Stream::Create();
  auto out = *Memory::Allocate(Memory::Kind::kDevice, 4 * sizeof(int));
  ASSERT_TRUE(stream->Fill(out.data(), 0, out.bytes()).ok());
  VotesAndAtomics kernel;
  kernel.out = out.As<int>();
  ASSERT_TRUE(stream->BeginCapture().ok());
  ASSERT_TRUE(Launch(*stream, {1}, kernel).ok());
  EXPECT_FALSE(stream->Synchronize().ok());
  auto graph = stream->EndCapture();
  ASSERT_TRUE(graph.ok());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(stream->Launch(*graph).ok());
  int sum = 0;
  ASSERT_TRUE(stream->CopyToHost(&sum, out.data(), sizeof(int)).ok());
  ASSERT_TRUE(stream->Synchronize().ok());
  EXPECT_EQ(sum, 3 * 2016);
}

TEST(EmulatorTest, MemoryRunsOutWithAnAnswer) {
  const auto memory = Memory::Allocate(Memory::Kind::kDevice, int64_t{1} << 40);
  EXPECT_EQ(memory.status().code(), absl::StatusCode::kResourceExhausted);
  auto stream = *Stream::Create();
  EXPECT_FALSE(Launch(*stream, {int64_t{1} << 31}, SameValueRace()).ok());
  EXPECT_TRUE(Launch(*stream, {0}, SameValueRace()).ok());
}

}  // namespace
}  // namespace fmaserver::kernels::cuda
