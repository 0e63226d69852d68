#include "server/engine/step_plan.h"

#include <algorithm>
#include <map>
#include <utility>

namespace fmaserver::engine {
namespace {

/// Shares `budget` between prompts of these lengths. Returns the rows of each, and the rest of the
/// budget.
std::pair<std::vector<int64_t>, int64_t> Share(std::span<const int64_t> lengths, int64_t budget) {
  std::vector<int64_t> shortest_first(lengths.begin(), lengths.end());
  std::ranges::sort(shortest_first);
  // What short prompts leave of their even share goes to the long ones.
  auto rivals = std::ssize(lengths);
  for (const int64_t length : shortest_first) {
    if (length > budget / rivals) break;
    budget -= length;
    --rivals;
  }
  std::vector<int64_t> rows(lengths.begin(), lengths.end());
  if (rivals == 0) return {std::move(rows), budget};
  const int64_t share = budget / rivals;
  int64_t extra = budget % rivals;
  for (int64_t& length : rows) {
    if (length > share) length = share + (extra-- > 0 ? 1 : 0);
  }
  return {std::move(rows), 0};
}

}  // namespace

std::vector<PlannedRows> Compose(std::span<const ReadySequence> ready, int64_t prompt_rows) {
  std::map<int32_t, std::vector<size_t>> by_priority;
  for (size_t i = 0; i < ready.size(); ++i) by_priority[ready[i].priority].push_back(i);
  std::vector<PlannedRows> plan;
  for (const auto& [priority, sequences] : by_priority) {
    std::vector<int64_t> lengths;
    for (const size_t i : sequences) {
      if (ready[i].reading) lengths.push_back(ready[i].pending);
    }
    const auto [shares, left] = Share(lengths, prompt_rows);
    prompt_rows = left;
    auto share = shares.begin();
    for (const size_t i : sequences) {
      const int64_t rows = ready[i].reading ? *share++ : ready[i].pending;
      if (rows > 0) plan.push_back({i, static_cast<int32_t>(rows)});
    }
  }
  return plan;
}

}  // namespace fmaserver::engine
