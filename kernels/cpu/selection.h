// Which tokens stand for a group of the far field: docs/model.md, "Selected tokens".
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fmaserver::kernels::cpu {

/// The places of the candidates that stand for their group, in order: `asked_for` of them by what
/// they received, then `novel` of the rest by novelty, in both of equals the earlier. Candidates
/// are in order of position and not fewer than are chosen; `novelty` may be empty when none is
/// chosen by it. NaN counts as the least.
void ChooseTokens(std::span<const double> received, std::span<const float> novelty,
                  int64_t asked_for, int64_t novel, std::vector<int32_t>& chosen);

}  // namespace fmaserver::kernels::cpu
