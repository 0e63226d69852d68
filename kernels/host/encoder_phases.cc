#include "kernels/host/encoder_phases.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

namespace fmaserver::kernels {
namespace {

/// What going once through a token's channels costs, as a part of what a layer does with a token.
constexpr double kLight = 0.125;

/// A layer's work on a token, as a number of keys that a query meets.
constexpr double kKeys = 512;

/// What it costs that so many queries meet so many keys.
double Asking(int64_t queries, int64_t keys) {
  return static_cast<double>(queries) * std::max(1.0, static_cast<double>(keys) / kKeys);
}

struct Phase {
  EncoderStep step = EncoderStep::kNorms;
  int level = 0;
  int64_t tasks = 0;
  double rows = 0;  ///< what a task costs: the work of so many tokens
};

std::vector<Phase> PhasesOf(const AttentionSpec& spec, const EncoderPlan& plan, bool norms) {
  using enum EncoderStep;
  const Hierarchy& h = spec.hierarchy;
  std::vector<Phase> phases;
  if (norms) phases.push_back({kNorms, 0, plan.rows(), kLight});
  const int64_t listed = int64_t{Hierarchy::kMostFarGroups} * h.rank;
  const int64_t mixed = spec.downsampling == Downsampling::kConv ? spec.head_dim : 1;
  for (int level = 1; level <= plan.levels(); ++level) {
    const auto inputs = static_cast<double>(SummaryInputs(spec, level) * mixed);
    phases.push_back({kSummaries, level, plan.Groups(level), kLight * inputs});
  }
  for (int level = 1; level <= plan.levels(); ++level) {
    phases.push_back({kPlaces, level, plan.Groups(level), kLight * h.rank});
  }
  if (spec.positions == PositionEmbedding::kRope) {
    phases.push_back({kAngles, 0, plan.longest(), kLight});
    phases.push_back({kKeys, 0, plan.Groups(0), kLight * h.group_size});
  }
  for (int level = plan.levels(); spec.query_downsampling && level >= 1; --level) {
    phases.push_back({kShares, level, plan.Groups(level), Asking(h.rank, listed)});
  }
  const int64_t far = spec.query_downsampling ? 0 : listed * plan.levels();
  phases.push_back({kBlocks, 0, plan.Groups(0), Asking(h.group_size, 3 * h.group_size + far)});
  return phases;
}

}  // namespace

int64_t RunPiece(const AttentionSpec& spec, const EncoderPlan& plan, bool norms, int64_t rows,
                 BothWays& work, absl::FunctionRef<void(const EncoderTasks&)> run) {
  const std::vector<Phase> phases = PhasesOf(spec, plan, norms);
  const auto budget = static_cast<double>(rows);
  double spent = 0;
  while (work.phase < std::ssize(phases) && spent < budget) {
    const Phase& phase = phases[work.phase];
    const auto fit = static_cast<int64_t>((budget - spent) / phase.rows);
    const int64_t count = std::min(phase.tasks - work.task, std::max<int64_t>(fit, 1));
    run({phase.step, phase.level, work.task, count});
    spent += static_cast<double>(count) * phase.rows;
    work.task += count;
    if (work.task < phase.tasks) continue;
    ++work.phase;
    work.task = 0;
  }
  work.done = work.phase == std::ssize(phases);
  return std::max<int64_t>(std::llround(spent), 1);
}

}  // namespace fmaserver::kernels
