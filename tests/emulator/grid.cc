// The blocks of a launch, their threads, and the places where threads wait for each other.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/emulator/emulator.h"
#include "tests/emulator/fail.h"
#include "tests/emulator/fiber.h"

namespace fmaserver::kernels::cuda::emulator {
namespace {

constexpr int kResidentBlocks = 3;
constexpr int kMaxThreads = 1024;
constexpr int64_t kMaxSharedBytes = 227 * 1024;  // the most that a block of sm_90 can have

enum class Waiting : uint8_t { kNot, kBlock, kWarp };

struct Thread {
  Fiber fiber;
  Coordinates at;
  uint8_t sync = 0;
  Waiting waiting = Waiting::kNot;
  Site site;
  WarpOperation operation = WarpOperation::kSync;
  uint32_t mask = 0;
  uint64_t value = 0;
  int lane = 0;
  uint64_t result = 0;
  std::array<uint64_t, kWarpSize> gathered = {};
};

struct Launch {
  const char* name;
  int threads;
  LaunchShape shape;
  const std::function<void()>* body;
  Phases* phases;
  Traffic* traffic;
};

class Block;

struct State {
  std::mt19937 random{[] {
    const char* seed = std::getenv("FMA_EMULATOR_SEED");
    return seed == nullptr ? 1U : static_cast<unsigned>(std::strtoul(seed, nullptr, 10));
  }()};
  Phases phases;
  std::map<std::string, Traffic> traffic;
  const Launch* launch = nullptr;
  Block* block = nullptr;    // the running one
  Thread* thread = nullptr;  // the running one
};

State& TheState() {
  static State* state = new State();
  return *state;
}

/// Runs blocks of the launch, one after another, with the same fibers.
class Block {
 public:
  void Begin(const Launch& launch, int64_t index) {
    launch_ = &launch;
    index_ = static_cast<uint32_t>(index);
    stamp_ = launch.phases->Next(index_);
    live_ = launch.threads;
    while (static_cast<int>(threads_.size()) < live_)
      threads_.push_back(std::make_unique<Thread>());
    for (int i = 0; i < live_; ++i) {
      Thread& thread = *threads_[i];
      thread.at = {i, live_, index % launch.shape.blocks_x, index / launch.shape.blocks_x,
                   launch.shape.blocks_x};
      thread.waiting = Waiting::kNot;
      thread.sync = 0;
      thread.fiber.Start(launch.body);
    }
    shared_.assign(launch.shape.shared_bytes + kSharedAlignment, std::byte{0xFF});
    shared_base_ = shared_.data() + (-reinterpret_cast<uintptr_t>(shared_.data())) % 16;
    Cell fresh;
    fresh.exists = true;
    shared_cells_.assign(launch.shape.shared_bytes / kCellBytes + 1, fresh);
  }

  bool done() const { return live_ == 0; }

  /// Lets every thread that can run do so once, in a shuffled order.
  void Advance(std::mt19937& random) {
    const int n = launch_->threads;
    const int first = static_cast<int>(random() % n);
    int stride = 1 + static_cast<int>(random() % n);
    while (std::gcd(stride, n) != 1) ++stride;
    bool any = false;
    for (int i = 0; i < n; ++i) {
      Thread& thread = *threads_[(first + int64_t{i} * stride) % n];
      if (thread.fiber.done() || thread.waiting != Waiting::kNot) continue;
      any = true;
      Resume(thread);
    }
    if (!any && !done()) FailDeadlock();
  }

  Actor ActorOf(const Thread& thread) const {
    return {stamp_, index_, static_cast<uint16_t>(thread.at.thread), thread.sync};
  }

  void TouchShared(const void* address, int64_t bytes, Access access, const Thread& thread,
                   const Site& site) {
    const int64_t first = (static_cast<const std::byte*>(address) - shared_base_) / kCellBytes;
    for (int64_t i = 0; i < std::max<int64_t>(1, bytes / kCellBytes); ++i) {
      Touch(shared_cells_[first + i], access, ActorOf(thread), *launch_->phases, "shared", site);
    }
  }

  void* TakeShared(int64_t used, int64_t bytes, const Site& site) {
    if (used + bytes > launch_->shape.shared_bytes) {
      Fail(absl::StrCat("shared memory of ", used + bytes, " bytes is taken, the launch gave ",
                        launch_->shape.shared_bytes),
           &site);
    }
    return shared_base_ + used;
  }

  void MeetBlock(Thread& thread, const Site& site) {
    thread.waiting = Waiting::kBlock;
    thread.site = site;
    ++at_barrier_;
    if (!ReleaseBlock()) thread.fiber.Yield();
  }

  uint64_t MeetWarp(Thread& thread) {
    if ((thread.mask >> (thread.at.thread % kWarpSize) & 1U) == 0) {
      Fail("a warp operation whose mask lacks its own lane", &thread.site);
    }
    thread.waiting = Waiting::kWarp;
    if (!ReleaseWarp(thread)) thread.fiber.Yield();
    return thread.result;
  }

 private:
  void Resume(Thread& thread) {
    State& state = TheState();
    state.block = this;
    state.thread = &thread;
    thread.fiber.Resume();
    if (thread.fiber.done()) {
      --live_;
      ReleaseBlock();
    }
    state.thread = nullptr;
  }

  /// Opens the block barrier when every thread that has not ended has reached it.
  bool ReleaseBlock() {
    if (at_barrier_ == 0 || at_barrier_ < live_) return false;
    const Thread* one = nullptr;
    for (int i = 0; i < launch_->threads; ++i) {
      Thread& thread = *threads_[i];
      if (thread.waiting != Waiting::kBlock) continue;
      if (one != nullptr &&
          (one->site.line != thread.site.line || one->site.file != thread.site.file)) {
        Fail(absl::StrCat("threads ", one->at.thread, " and ", thread.at.thread,
                          " wait at different barriers, lines ", one->site.line, " and ",
                          thread.site.line),
             &thread.site);
      }
      one = &thread;
      thread.waiting = Waiting::kNot;
    }
    at_barrier_ = 0;
    stamp_ = launch_->phases->Next(index_);
    return true;
  }

  /// Completes the warp operation when every lane of its mask has come to it.
  bool ReleaseWarp(const Thread& last) {
    const int base = last.at.thread / kWarpSize * kWarpSize;
    std::array<Thread*, kWarpSize> lanes = {};
    for (int lane = 0; lane < kWarpSize; ++lane) {
      if ((last.mask >> lane & 1U) == 0) continue;
      if (base + lane >= launch_->threads || threads_[base + lane]->fiber.done()) {
        Fail(absl::StrCat("a warp operation waits for lane ", lane, ", which has ended"),
             &last.site);
      }
      Thread& other = *threads_[base + lane];
      if (other.waiting != Waiting::kWarp) return false;
      if (other.operation != last.operation || other.mask != last.mask ||
          other.site.line != last.site.line) {
        Fail(absl::StrCat("lanes of one warp are at different warp operations, lines ",
                          last.site.line, " and ", other.site.line),
             &last.site);
      }
      lanes[lane] = &other;
    }
    for (Thread* thread : lanes) {
      if (thread == nullptr) continue;
      if (last.operation == WarpOperation::kGather) {
        for (int lane = 0; lane < kWarpSize; ++lane) thread->gathered[lane] = lanes[lane]->value;
      } else {
        thread->result = ResultOf(*thread, lanes);
      }
    }
    for (Thread* thread : lanes) {
      if (thread == nullptr) continue;
      thread->waiting = Waiting::kNot;
      if (thread->operation == WarpOperation::kSync) ++thread->sync;
    }
    return true;
  }

  static uint64_t ResultOf(const Thread& thread, const std::array<Thread*, kWarpSize>& lanes) {
    if (thread.operation == WarpOperation::kShuffle) {
      const Thread* from = lanes[thread.lane];
      if (from == nullptr) Fail("a shuffle from a lane outside of its mask", &thread.site);
      return from->value;
    }
    uint64_t ballot = 0;
    for (int lane = 0; lane < kWarpSize; ++lane) {
      if (lanes[lane] != nullptr && lanes[lane]->value != 0) ballot |= uint64_t{1} << lane;
    }
    return ballot;
  }

  [[noreturn]] void FailDeadlock() {
    for (int i = 0; i < launch_->threads; ++i) {
      Thread& thread = *threads_[i];
      if (thread.fiber.done()) continue;
      TheState().thread = &thread;
      Fail(thread.waiting == Waiting::kBlock ? "waits for ever at a block barrier"
                                             : "waits for ever at a warp operation",
           &thread.site);
    }
    Fail("deadlock", nullptr);
  }

  const Launch* launch_ = nullptr;
  uint32_t index_ = 0;
  uint32_t stamp_ = 0;
  int live_ = 0;
  int at_barrier_ = 0;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<std::byte> shared_;
  std::byte* shared_base_ = nullptr;
  std::vector<Cell> shared_cells_;
};

void CheckLaunch(const char* name, int threads, const LaunchShape& shape) {
  if (threads < 1 || threads > kMaxThreads) {
    Fail(absl::StrCat("kernel ", name, ": ", threads, " threads in a block"), nullptr);
  }
  if (shape.shared_bytes < 0 || shape.shared_bytes > kMaxSharedBytes) {
    Fail(absl::StrCat("kernel ", name, ": ", shape.shared_bytes, " bytes of shared memory"),
         nullptr);
  }
}

}  // namespace

void Fail(const std::string& what, const Site* site) {
  const State& state = TheState();
  std::fprintf(stderr, "emulator: ");
  if (state.launch != nullptr && state.thread != nullptr) {
    std::fprintf(stderr, "kernel %s, block (%ld, %ld), thread %d: ", state.launch->name,
                 static_cast<long>(state.thread->at.block_x),
                 static_cast<long>(state.thread->at.block_y), state.thread->at.thread);
  }
  std::fprintf(stderr, "%s", what.c_str());
  if (site != nullptr) std::fprintf(stderr, " (%s:%d)", site->file, site->line);
  std::fprintf(stderr, "\n");
  std::abort();
}

std::map<std::string, Traffic>& TrafficByKernel() { return TheState().traffic; }

void RunLaunch(const char* name, int threads, const LaunchShape& shape,
               const std::function<void()>& body) {
  CheckLaunch(name, threads, shape);
  State& state = TheState();
  state.phases.BeginLaunch();
  Traffic& traffic = state.traffic[name];
  ++traffic.launches;
  const Launch launch{name, threads, shape, &body, &state.phases, &traffic};
  state.launch = &launch;

  static auto* places = new std::array<Block, kResidentBlocks>();
  const int64_t blocks = shape.blocks_x * shape.blocks_y;
  // Blocks start in a shuffled order, because nothing may depend on it.
  std::vector<int64_t> order(blocks);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), state.random);
  int64_t next = 0;
  std::vector<Block*> running;
  for (Block& place : *places) {
    if (next == blocks) break;
    place.Begin(launch, order[next++]);
    running.push_back(&place);
  }
  while (!running.empty()) {
    const size_t chosen = state.random() % running.size();
    running[chosen]->Advance(state.random);
    if (!running[chosen]->done()) continue;
    if (next < blocks) {
      running[chosen]->Begin(launch, order[next++]);
    } else {
      running.erase(running.begin() + static_cast<int64_t>(chosen));
    }
  }
  state.launch = nullptr;
}

const Coordinates& Current() { return TheState().thread->at; }

void TouchGlobal(const void* address, int64_t bytes, Access access, const Site& site) {
  State& state = TheState();
  DeviceArena::Instance().Touch(address, bytes, access, state.block->ActorOf(*state.thread),
                                state.phases, *state.launch->traffic, site);
}

void TouchShared(const void* address, int64_t bytes, Access access, const Site& site) {
  State& state = TheState();
  state.block->TouchShared(address, bytes, access, *state.thread, site);
}

void* TakeShared(int64_t used, int64_t bytes, const Site& site) {
  return TheState().block->TakeShared(used, bytes, site);
}

void FailIndex(int64_t index, int64_t count, const Site& site) {
  Fail(absl::StrCat("index ", index, " of a shared array of ", count), &site);
}

void MeetBlock(const Site& site) {
  State& state = TheState();
  state.block->MeetBlock(*state.thread, site);
}

uint64_t MeetWarp(WarpOperation operation, uint32_t mask, uint64_t value, int lane,
                  const Site& site) {
  State& state = TheState();
  Thread& thread = *state.thread;
  thread.site = site;
  thread.operation = operation;
  thread.mask = mask;
  thread.value = value;
  thread.lane = lane;
  return state.block->MeetWarp(thread);
}

const uint64_t* GatherWarp(uint64_t value, const Site& site) {
  MeetWarp(WarpOperation::kGather, kFullWarp, value, 0, site);
  return TheState().thread->gathered.data();
}

}  // namespace fmaserver::kernels::cuda::emulator
