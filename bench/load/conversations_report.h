// What became of conversations and when, for people and for programs.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bench/load/conversations.h"
#include "bench/load/latencies.h"
#include "bench/load/options.h"
#include "bench/load/report_parts.h"
#include "fma/v1/generation.pb.h"

namespace fmaserver::bench {

/// What happened from a fault until the next one, or the end.
struct Aftermath {
  std::optional<FaultOutcome> fault;  ///< none: before the first fault
  /// The longest times within a turn until tokens came, and until tokens came that had not come
  /// before, of those that overlap.
  double longest_pause = 0;
  double longest_pause_until_news = 0;
  /// Conversations that went on by a resume token, or by their session as it was before the turn.
  int64_t resumed_by_token = 0;
  int64_t resumed_by_session = 0;
  int64_t lost = 0;
  int64_t different = 0;
};

struct ConversationsReport {
  int64_t conversations = 0;
  int64_t undisturbed = 0;  ///< ended well without a call that was made again
  int64_t resumed = 0;      ///< ended well with one
  int64_t lost = 0;
  int64_t different = 0;    ///< in at least one token
  int64_t interrupted = 0;  ///< by Ctrl-C
  double seconds = 0;
  uint64_t generated_tokens = 0;
  Latencies time_to_first_token;      ///< of every turn
  Latencies inter_token;              ///< every gap between messages of tokens, pauses included
  std::vector<Aftermath> parts;       ///< in the order of time
  Failures repeated;                  ///< why calls were made again
  std::vector<std::string> problems;  ///< what was lost and what differed, at most kMostProblems

  static constexpr size_t kMostProblems = 20;

  /// `interrupted` says that cancelled conversations were cancelled by the user.
  static ConversationsReport Of(const ConversationsResult& result, bool interrupted);

  /// Whether nothing was lost or different, and every fault was run and succeeded.
  bool Good() const;
};

nlohmann::json ToJson(const ConversationsReport& report, const LoadOptions& options,
                      const v1::Model& model);
std::string ToText(const ConversationsReport& report, const LoadOptions& options,
                   const v1::Model& model);

}  // namespace fmaserver::bench
