#include "server/engine/step_runner.h"

#include <cstddef>
#include <optional>

namespace fmaserver::engine {

/// Segments in the order in which the model gets them: first those whose token the backend chooses,
/// so that the logits that the host wants lie together after them.
struct StepRunner::Batch {
  std::vector<StepSegment> segments;
  std::vector<size_t> parts;  // of each segment
  std::vector<kernels::RowSampling> choices;

  void Add(const StepSegment& segment, size_t part) {
    segments.push_back(segment);
    parts.push_back(part);
  }
};

StepRunner::Batch StepRunner::MakeBatch(std::span<const Part> parts) const {
  const bool can_choose = model_.backend().sampler() != nullptr;
  Batch batch;
  Batch others;
  for (size_t i = 0; i < parts.size(); ++i) {
    Sequence& sequence = *parts[i].sequence;
    const StepSegment segment{
        .slot = sequence.slot().handle(),
        .position = sequence.position(),
        .tokens = sequence.Pending().first(static_cast<size_t>(parts[i].rows)),
        .logits = sequence.LogitsWanted(parts[i].rows)};
    std::optional<kernels::RowSampling> choice;
    if (can_choose && segment.logits == 1) choice = sequence.Choice();
    if (choice) batch.choices.push_back(*choice);
    (choice ? batch : others).Add(segment, i);
  }
  for (size_t i = 0; i < others.segments.size(); ++i) {
    batch.Add(others.segments[i], others.parts[i]);
  }
  return batch;
}

absl::StatusOr<std::span<const StepOutcome>> StepRunner::Run(std::span<const Part> parts) {
  const Batch batch = MakeBatch(parts);
  sampled_.assign(batch.choices.size(), {});
  const auto logits = model_.Run(batch.segments, batch.choices, sampled_);
  if (!logits.ok()) return logits.status();
  const auto num_chosen = std::ssize(sampled_);
  const auto on_host = model_.CopyLogits(logits->From(num_chosen));
  if (!on_host.ok()) return on_host.status();

  const int64_t vocab_size = model_.config().vocab_size;
  outcomes_.assign(parts.size(), {.vocab_size = vocab_size});
  std::span<const float> rest = *on_host;
  for (size_t i = 0; i < batch.segments.size(); ++i) {
    StepOutcome& outcome = outcomes_[batch.parts[i]];
    if (i < sampled_.size()) {
      outcome.chosen = &sampled_[i];
      continue;
    }
    const auto size = static_cast<size_t>(batch.segments[i].logits * vocab_size);
    outcome.logits = rest.first(size);
    rest = rest.subspan(size);
  }
  return outcomes_;
}

}  // namespace fmaserver::engine
