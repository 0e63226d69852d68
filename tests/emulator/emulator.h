// The block emulator: runs a kernel's threads as fibers and checks what they do. For tests that use
// the emulator directly; kernels and their launchers see device.h, launch.h and runtime.h.
//
// Blocks of a launch run interleaved, a few at a time, and their threads in an order shuffled by a
// seed (FMA_EMULATOR_SEED, default 1). A kernel that breaks a rule ends the process with a message:
// an index or address out of bounds, a load of memory that nobody wrote, a race, threads at
// different barriers, a barrier or warp operation that can never complete. One thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "kernels/cuda/runtime/launch.h"
#include "tests/emulator/arena.h"

namespace fmaserver::kernels::cuda::emulator {

/// Global loads and stores of every kernel since the last reset, by its name.
std::map<std::string, Traffic>& TrafficByKernel();

/// How often the host has waited for something, over all streams.
std::atomic<int64_t>& Waits();

/// Bytes copied from the device to the host, over all streams.
std::atomic<int64_t>& BytesToHost();

/// Runs the launch to its end.
void RunLaunch(const char* name, int threads, const LaunchShape& shape,
               const std::function<void()>& body);

}  // namespace fmaserver::kernels::cuda::emulator
