// The matrix tiles of Intel AMX in plain loops, so that kernels on tiles run on any processor with
// AVX-512. What the processor would answer with an invalid opcode ends the program.
#pragma once

#include <cstdint>

#include "kernels/cpu/extensions.h"

namespace fmaserver::testing {

/// `extensions`, whose products on tiles are computed by emulated ones.
kernels::cpu::Extensions WithEmulatedTiles(kernels::cpu::Extensions extensions);

/// The instructions that multiplied emulated tiles of integers, of all threads until now.
int64_t EmulatedByteProducts();

}  // namespace fmaserver::testing
