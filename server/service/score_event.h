// What a Score call tells its reader, free of any wire format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "server/engine/request.h"

namespace fmaserver::service {

struct Scores {
  std::vector<engine::TokenScore> tokens;
};

struct ScoreSummary {
  int64_t scored_tokens = 0;
  double total_logprob = 0;
  double seconds = 0;
};

using ScoreEvent = std::variant<Scores, ScoreSummary>;

/// For Outbox: scores are joined.
size_t BytesOf(const ScoreEvent& event);
bool Merge(ScoreEvent& last, ScoreEvent& next);

}  // namespace fmaserver::service
