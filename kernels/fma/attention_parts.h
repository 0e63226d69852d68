// The parts of what a query sees, and the order in which its attention to them is told.
#pragma once

#include "kernels/fma/levels.h"

namespace fmaserver::kernels {

/// Numbers of the parts of a hierarchy: sinks that have left the near field, near field, levels
/// 1..L, opened units. Keys of zeros that stand for missing groups belong to where the groups would
/// be. Parts that a model does not have are there and get nothing.
struct AttentionParts {
  static constexpr int kSinks = 0;
  static constexpr int kNearField = 1;

  explicit constexpr AttentionParts(const Hierarchy& hierarchy) : levels(hierarchy.num_levels) {}

  /// Of `level` (1..L).
  constexpr int Level(int level) const { return kNearField + level; }
  constexpr int OpenedUnits() const { return kNearField + levels + 1; }
  constexpr int Count() const { return OpenedUnits() + 1; }

  int levels;  ///< L
};

}  // namespace fmaserver::kernels
