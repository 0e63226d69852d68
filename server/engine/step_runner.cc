#include "server/engine/step_runner.h"

#include <cstddef>
#include <optional>

#include "server/engine/attention_shares.h"

namespace fmaserver::engine {

/// Segments in the order in which the model gets them: first those whose token the backend chooses,
/// so that the logits that the host wants lie together after them.
struct StepRunner::Batch {
  std::vector<StepSegment> segments;
  std::vector<size_t> feeds;  // whose segment it is
  std::vector<kernels::RowSampling> choices;

  void Add(const StepSegment& segment, size_t feed) {
    segments.push_back(segment);
    feeds.push_back(feed);
  }
};

absl::StatusOr<StepRunner::Batch> StepRunner::MakeBatch(std::span<const Feed> feeds) {
  const bool can_choose = model_.backend().sampler() != nullptr;
  Batch batch;
  Batch others;
  for (size_t i = 0; i < feeds.size(); ++i) {
    Sequence& sequence = *feeds[i].sequence;
    const auto archive = sequence.GroupsForNext(feeds[i].rows);
    if (!archive.ok()) return archive.status();
    StepSegment segment{.slot = sequence.slot().handle(),
                        .position = sequence.position(),
                        .tokens = sequence.Pending().first(static_cast<size_t>(feeds[i].rows)),
                        .logits = sequence.LogitsWanted(feeds[i].rows),
                        .opens = sequence.archive().opens(),
                        .archive = *archive};
    if (segment.logits > 0) {
      const kernels::ArchiveLayout& layout = model_.archive_layout();
      segment.unit_weights =
          sequence.UnitWeights(archive->size() * layout.UnitsPerGroup() * layout.num_kv_heads);
      segment.attention_shares = sequence.SharesOfAttention(NumShares(model_.config()));
    }
    std::optional<kernels::RowSampling> choice;
    if (can_choose && segment.logits == 1) choice = sequence.Choice();
    if (choice) batch.choices.push_back(*choice);
    (choice ? batch : others).Add(segment, i);
  }
  for (size_t i = 0; i < others.segments.size(); ++i) {
    batch.Add(others.segments[i], others.feeds[i]);
  }
  return batch;
}

absl::StatusOr<std::span<const StepOutcome>> StepRunner::Run(std::span<const Feed> feeds) {
  const absl::StatusOr<Batch> made = MakeBatch(feeds);
  if (!made.ok()) return made.status();
  const Batch& batch = *made;
  sampled_.assign(batch.choices.size(), {});
  const auto logits = model_.Run(batch.segments, batch.choices, sampled_);
  if (!logits.ok()) return logits.status();
  const auto num_chosen = std::ssize(sampled_);
  const auto on_host = model_.CopyLogits(logits->From(num_chosen));
  if (!on_host.ok()) return on_host.status();

  const int64_t vocab_size = model_.config().vocab_size;
  outcomes_.assign(feeds.size(), {.vocab_size = vocab_size});
  std::span<const float> rest = *on_host;
  for (size_t i = 0; i < batch.segments.size(); ++i) {
    StepOutcome& outcome = outcomes_[batch.feeds[i]];
    outcome.unit_weights = batch.segments[i].unit_weights;
    outcome.attention_shares = batch.segments[i].attention_shares;
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
