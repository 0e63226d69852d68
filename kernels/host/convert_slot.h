// A slot's bytes with elements of another type: how states take less room outside the slots.
//
// Keys, values and sketches change their type; running sums, A, N and positions are copied. A
// vector that becomes integers has the scale of ParkedScale(), and its numbers become the nearest
// multiples of it, of ties the even one, up to 127 times; zeros where that is no positive number.
// All else is rounded as everywhere.
//
// So a slot that was made smaller, and then as large as before or as bfloat16, becomes the same
// smaller slot again: however often a state comes and goes, it is rounded once. Source:
// docs/model.md, "What a parked state rounds".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/fma/parked_type.h"
#include "kernels/fma/spec.h"

namespace fmaserver::kernels {

/// Writes the slot `from`, of SlotLayout(spec, layers, from_type), to `to`, of the same with
/// `to_type`: every byte of it. Both are aligned as memory of new is. Any bytes of `from` are safe.
void ConvertSlot(const AttentionSpec& spec, int32_t layers, CacheType from_type,
                 std::span<const std::byte> from, CacheType to_type, std::span<std::byte> to);

}  // namespace fmaserver::kernels
