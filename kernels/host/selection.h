// Which tokens stand for a group of the far field: the arithmetic of docs/model.md, "Selected
// tokens", without caches or devices. In plain float64 and one order, so that it chooses alike on
// every instruction set.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fmaserver::kernels {

/// The places of the candidates that stand for their group, in order: `asked_for` of them by what
/// they received, then `novel` of the rest by novelty, in both of equals the earlier. Candidates
/// are in order of position and not fewer than are chosen; `novelty` may be empty when none is
/// chosen by it. NaN counts as the least.
void ChooseTokens(std::span<const double> received, std::span<const float> novelty,
                  int64_t asked_for, int64_t novel, std::vector<int32_t>& chosen);

/// N of each key of a group: its leverage among them, rounded so that equal keys are equals. One
/// rotation of all keys changes nothing. `keys` [m, dim] row by row and `spread` [dim, dim] are
/// used up; `novelty` is [m].
void FindNovelty(std::span<double> keys, int64_t dim, std::span<double> spread,
                 std::span<float> novelty);

}  // namespace fmaserver::kernels
