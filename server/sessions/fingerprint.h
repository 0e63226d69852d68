// Which model a state belongs to.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/fma/slot_layout.h"
#include "server/sessions/session_model.h"

namespace fmaserver::sessions {

/// SHA-256 of the checkpoint's fingerprint (Checkpoint::Fingerprint) and of everything that decides
/// what the bytes of a slot and its archive mean: element types, layout version, size, and to what
/// the checkpoint's weights were rounded (empty: they were not). The same on every backend.
std::string ModelFingerprint(std::string_view checkpoint, const kernels::SlotLayout& layout,
                             std::string_view rounded_to = "");

/// The model with slots of every type but `slots`, for SessionModel::others.
std::vector<OtherSlots> OtherSlotsOf(std::string_view checkpoint,
                                     const kernels::AttentionSpec& spec, int32_t layers,
                                     kernels::CacheType slots, std::string_view rounded_to = "");

}  // namespace fmaserver::sessions
