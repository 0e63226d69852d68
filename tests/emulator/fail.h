// How the emulator ends a process whose kernel did what it must not.
#pragma once

#include <string>

#include "kernels/cuda/runtime/device.h"

namespace fmaserver::kernels::cuda::emulator {

/// Prints "emulator: kernel K, block B, thread T: what (file:line)" and aborts.
[[noreturn]] void Fail(const std::string& what, const Site* site);

}  // namespace fmaserver::kernels::cuda::emulator
