// The attention of encoders as phases of tasks, of which any backend does a piece at a time.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "kernels/backend.h"
#include "kernels/host/encoder_plan.h"

namespace fmaserver::kernels {

/// In this order; those of a level have a phase for each.
enum class EncoderStep : uint8_t {
  kNorms,      ///< rows: heads of queries and keys are normed
  kSummaries,  ///< groups of a level, from level 1 up: their sums are made
  kPlaces,     ///< groups of a level: their summaries are finished and put in their places
  kAngles,     ///< positions of the longest sequence: their rotations, for backends that keep them
  kKeys,       ///< fine groups: their tokens' keys are rotated
  kShares,     ///< groups of a level, from the top down: their down-sampled queries ask
  kBlocks,     ///< fine groups: their tokens ask
};

/// Tasks of a step in any order, once all phases before are done.
struct EncoderTasks {
  EncoderStep step = EncoderStep::kNorms;
  int level = 0;
  int64_t first = 0;
  int64_t count = 0;
};

/// Goes on where `work` is, as Backend::AttendBothWays(). `norms` says whether heads are normed;
/// `run` does tasks.
int64_t RunPiece(const AttentionSpec& spec, const EncoderPlan& plan, bool norms, int64_t rows,
                 BothWays& work, absl::FunctionRef<void(const EncoderTasks&)> run);

}  // namespace fmaserver::kernels
