// A slot's bytes between the device and the host.
//
// On the device the keys of a head lie in rows, [C, d], like its values: what a query looks at is
// then whole rows, and little else is read from memory. SlotLayout has them in strips of columns.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/fma/slot_layout.h"

namespace fmaserver::kernels::cuda {

/// Both work in place on a whole slot.
void KeysToStrips(const SlotLayout& layout, std::span<std::byte> slot);
void KeysToRows(const SlotLayout& layout, std::span<std::byte> slot);

}  // namespace fmaserver::kernels::cuda
