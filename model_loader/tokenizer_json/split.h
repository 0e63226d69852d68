// Cutting a text where an expression matches.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "model_loader/tokenizer_json/pattern.h"

namespace fmaserver::model {

/// What becomes of a match.
enum class SplitBehavior : uint8_t {
  kRemoved,
  kIsolated,            ///< a piece of its own
  kMergedWithPrevious,  ///< the end of the piece before it
  kMergedWithNext,      ///< the beginning of the piece behind it
  kContiguous,          ///< neighbouring matches are one piece
};

struct SplitRule {
  Pattern pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  ///< what lies between the matches takes their part
};

using EmitPiece = absl::FunctionRef<absl::Status(std::string_view)>;

/// Emits the pieces of `text` in order, as views of it, none of them empty. Stops at the first
/// failure, of matching or of `emit`.
absl::Status Cut(const SplitRule& rule, std::string_view text, const MatchMemory& memory,
                 EmitPiece emit);

}  // namespace fmaserver::model
