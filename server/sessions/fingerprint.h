// Which model a state belongs to.
#pragma once

#include <string>
#include <string_view>

#include "kernels/fma/slot_layout.h"

namespace fmaserver::sessions {

/// SHA-256 of the checkpoint's fingerprint (Checkpoint::Fingerprint) and of everything that decides
/// what the bytes of a slot and its archive mean: element types, layout version, size, and to what
/// the checkpoint's weights were rounded (empty: they were not). The same on every backend.
std::string ModelFingerprint(std::string_view checkpoint, const kernels::SlotLayout& layout,
                             std::string_view rounded_to = "");

}  // namespace fmaserver::sessions
