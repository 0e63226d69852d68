// The constants of novelty, which decides with selected tokens: docs/model.md, "Selected tokens".
#pragma once

namespace fmaserver::kernels {

/// Added to the diagonal of the keys' spread, as a share of its mean.
inline constexpr double kNoveltyRidge = 0.1;

/// Keys are alike when their mean variance is not above this share of their mean square.
inline constexpr double kNoSpread = 1e-10;

/// Novelty is a multiple of 1 / kNoveltySteps.
inline constexpr double kNoveltySteps = 1024;

}  // namespace fmaserver::kernels
