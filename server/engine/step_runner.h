// Runs one step of the model, and tells what it computed from every sequence's rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/model.h"
#include "server/engine/sequence.h"

namespace fmaserver::engine {

/// Tokens are chosen where the logits are, row by row, as far as the backend and the sequence can
/// (Sequence::Choice); only the logits that a sequence must have itself are copied to the host.
class StepRunner {
 public:
  /// `model` outlives the runner.
  explicit StepRunner(Model& model) : model_(model) {}

  /// A sequence, and how many of its pending tokens a step feeds.
  struct Feed {
    Sequence* sequence = nullptr;
    int32_t rows = 0;
  };

  /// Runs a step and returns an outcome for each of its feeds, valid until the next call. An error
  /// is an error of the whole step.
  absl::StatusOr<std::span<const StepOutcome>> Run(std::span<const Feed> feeds);

 private:
  struct Batch;
  absl::StatusOr<Batch> MakeBatch(std::span<const Feed> feeds);

  Model& model_;
  std::vector<kernels::SampledRow> sampled_;
  std::vector<StepOutcome> outcomes_;
};

}  // namespace fmaserver::engine
