#include "server/eval/evaluation.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/plain_archive.h"
#include "server/engine/parking.h"
#include "server/engine/sampler.h"
#include "server/engine/sequence.h"
#include "server/engine/slot_pool.h"
#include "server/engine/validate.h"

namespace fmaserver::eval {
namespace {

/// -ln p of the tokens of a window that follow those of `logits`, [rows, V], whose first is token
/// `first`.
std::vector<double> Losses(std::span<const int32_t> window, int64_t first, int64_t rows,
                           std::span<const float> logits) {
  const auto vocab = static_cast<int64_t>(logits.size()) / rows;
  const auto followed = std::min(rows, static_cast<int64_t>(window.size()) - first - 1);
  std::vector<double> losses;
  for (int64_t row = 0; row < followed; ++row) {
    const engine::LogProbabilities probabilities(logits.subspan(row * vocab, vocab));
    losses.push_back(-probabilities.Of(window[first + row + 1]));
  }
  return losses;
}

void Add(const std::vector<double>& losses, const EvaluationHooks& hooks, Evaluation& result) {
  for (const double loss : losses) result.nats += loss;
  result.scored_tokens += static_cast<int64_t>(losses.size());
  if (hooks.on_losses) hooks.on_losses(std::vector<float>(losses.begin(), losses.end()));
}

/// Makes `segment` open units of the archive of its window, which the next window writes anew.
absl::Status Open(kernels::PlainArchive& archive, engine::StepSegment& segment) {
  const auto groups = archive.Reach(segment.position + std::ssize(segment.tokens));
  if (!groups.ok()) return groups.status();
  segment.opens = true;
  segment.archive = *groups;
  return absl::OkStatus();
}

/// How many of the window's tokens a step feeds from token `first` on: a chunk, or as many as are
/// left before the state is parked.
int64_t RowsAt(int64_t first, int64_t tokens, const EvaluationOptions& options) {
  const int64_t rows = std::min<int64_t>(options.chunk, tokens - first);
  if (options.park_every == 0) return rows;
  return std::min(rows, options.park_every - first % options.park_every);
}

/// Takes the state after `tokens` tokens out of the slot and back, as between two turns.
absl::Status ParkAndRestore(const engine::Parking& parking, int64_t tokens, engine::Slot& slot) {
  absl::StatusOr<engine::SnapshotPtr> state = slot.Save(tokens);
  if (state.ok()) state = parking.Restore(parking.Park(*std::move(state)));
  return state.ok() ? slot.Restore(**state) : state.status();
}

}  // namespace

absl::StatusOr<Evaluation> Evaluate(engine::Model& model, std::span<const int32_t> tokens,
                                    const EvaluationOptions& options,
                                    const EvaluationHooks& hooks) {
  const auto total = static_cast<int64_t>(tokens.size());
  const int64_t context = options.context == 0 ? total : std::min(options.context, total);
  if (absl::Status status = engine::ValidateTokens("tokens", tokens, model.config(), context);
      !status.ok()) {
    return status;
  }
  absl::StatusOr<std::unique_ptr<engine::SlotPool>> pool =
      engine::SlotPool::Create(model.backend(), model.layout(), 1);
  if (!pool.ok()) return pool.status();
  engine::Slot slot = (*pool)->Acquire();
  const auto parking = engine::Parking::Create(model.config().attention, model.config().num_layers,
                                               model.layout().type, options.parked_type);
  if (!parking.ok()) return parking.status();
  const bool opens = model.archive_layout() && options.opens;
  kernels::PlainArchive archive(model.backend(), model.archive_layout());

  Evaluation result;
  const auto start = std::chrono::steady_clock::now();
  for (int64_t begin = 0; begin < total; begin += context) {
    const auto window = tokens.subspan(begin, std::min(context, total - begin));
    for (int64_t first = 0, rows = 0; first < std::ssize(window); first += rows) {
      if (first > 0 && options.park_every > 0 && first % options.park_every == 0) {
        if (auto status = ParkAndRestore(*parking, first, slot); !status.ok()) return status;
      }
      rows = RowsAt(first, std::ssize(window), options);
      engine::StepSegment segment{slot.handle(), first, window.subspan(first, rows),
                                  static_cast<int32_t>(rows)};
      if (absl::Status status = opens ? Open(archive, segment) : absl::OkStatus(); !status.ok()) {
        return status;
      }
      const absl::StatusOr<std::span<const float>> logits = model.Step({&segment, 1});
      if (!logits.ok()) return logits.status();
      if (hooks.on_logits) hooks.on_logits(*logits);
      Add(Losses(window, first, rows, *logits), hooks, result);
      result.tokens += rows;
      result.seconds = SecondsBetween(start, std::chrono::steady_clock::now());
      if (hooks.on_progress) hooks.on_progress(result);
    }
  }
  return result;
}

}  // namespace fmaserver::eval
