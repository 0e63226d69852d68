// Many conversations at once, with faults among their servers.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/load/conversation.h"
#include "bench/load/faults.h"

namespace fmaserver::bench {

struct ConversationsResult {
  double begin = 0;
  double end = 0;
  std::vector<ConversationRecord> records;  ///< by their numbers
  std::vector<FaultOutcome> faults;
};

/// Returns when `count` conversations have ended. `expected`: the answers of each; empty: unknown.
/// Cancelling `group` ends them early, with CANCELLED.
ConversationsResult RunConversations(const ConversationPlan& plan, size_t count,
                                     const RequestSource& source, Servers servers,
                                     const std::vector<Answers>& expected,
                                     const std::vector<Fault>& faults, CallGroup& group,
                                     LiveCounts& live);

}  // namespace fmaserver::bench
