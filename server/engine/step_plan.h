// Which sequences take part in a step, and with how many rows each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fmaserver::engine {

/// What the plan needs to know of a sequence that can take part in a step.
struct ReadySequence {
  int32_t priority = 0;  ///< the lowest is the most urgent
  bool reading = false;  ///< it reads its prompt, of which a step may take any slice
  int64_t pending = 0;   ///< > 0: rows to feed, exactly; at most, if it reads
};

struct PlannedRows {
  size_t sequence = 0;  ///< index into `ready`
  int32_t rows = 0;     ///< > 0

  bool operator==(const PlannedRows&) const = default;
};

/// Plans the next step, in order of urgency and, within one priority, in the order of `ready`:
///
/// * A sequence that does not read its prompt gets all its rows in every step, so no prompt ever
///   stops it.
/// * Prompts share `prompt_rows` and leave none that they could use. The most urgent priority takes
///   what it can use, the others what is left.
/// * Within one priority they share evenly: no prompt gets two rows more than one that could use
///   more. When there are fewer rows than prompts, the first prompts get a row each, so that one
///   after the other is read to its end.
std::vector<PlannedRows> Compose(std::span<const ReadySequence> ready, int64_t prompt_rows);

}  // namespace fmaserver::engine
