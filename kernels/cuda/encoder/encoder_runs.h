// The summaries that a block of queries sees, as runs of neighbours: of each level those before its
// own group and those after it.
#pragma once

#include <cstdint>

#include "kernels/cuda/encoder/encoder_kernel.h"

namespace fmaserver::kernels::cuda {

class EncoderRuns {
 public:
  static constexpr int64_t SharedMemory(int levels) {
    return SharedBytes<int64_t>(2 * levels) + SharedBytes<int>(2 * levels);
  }

  /// Room for so many levels.
  FMA_DEVICE EncoderRuns(SharedArena& arena, int levels)
      : place_(arena.Take<int64_t>(2 * levels)), count_(arena.Take<int>(2 * levels)) {}

  /// Called by all threads: lists `levels` levels from `first_level` on for the queries of a fine
  /// group. A barrier must follow before anything else is called.
  FMA_DEVICE void List(const EncoderKernel& kernel, const EncoderGroup& sequence,
                       int64_t fine_group, int first_level, int levels) {
    first_level_ = first_level;
    runs_ = 2 * levels;
    const AttentionSpec& spec = kernel.attention.spec;
    for (int run = ThreadIndex(); run < runs_; run += ThreadCount()) {
      const int level = first_level + run / 2;
      const int64_t groups = spec.hierarchy.GroupsWithTokens(level, sequence.length);
      const GroupRange range = run % 2 == 0 ? Hierarchy::FarGroups(level, fine_group).Existing()
                                            : Hierarchy::FarGroupsAfter(level, fine_group);
      const GroupRange seen = range.Below(groups);
      const int64_t count =
          CountSummaries(spec.hierarchy, spec.downsampling == Downsampling::kAverage, level, seen,
                         sequence.length);
      count_.Set(run, count > 0 ? static_cast<int>(count) : 0);
      if (count > 0) place_.Set(run, kernel.Place(level, sequence.sequence, seen.first));
    }
  }

  /// Of all runs.
  FMA_DEVICE int Count() const {
    int count = 0;
    for (int run = 0; run < runs_; ++run) count += count_.Get(run);
    return count;
  }

  /// Finds summaries by their numbers in the list, which must not decrease from call to call.
  class Cursor {
   public:
    FMA_DEVICE explicit Cursor(const EncoderRuns& runs) : runs_(runs) {}

    struct Found {
      int level;
      int64_t place;
    };
    FMA_DEVICE Found At(int number) {
      while (number >= before_ + runs_.count_.Get(run_)) before_ += runs_.count_.Get(run_++);
      return {runs_.first_level_ + run_ / 2, runs_.place_.Get(run_) + number - before_};
    }

   private:
    const EncoderRuns& runs_;
    int run_ = 0;
    int before_ = 0;  // summaries of the runs before
  };

 private:
  Shared<int64_t> place_;
  Shared<int> count_;
  int first_level_ = 0;
  int runs_ = 0;
};

}  // namespace fmaserver::kernels::cuda
