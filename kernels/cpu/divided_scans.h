// A single query that looks through a long archive is too little work for a thread each KV head:
// its scan is divided among more. The units that are best of all are among the best of each part,
// so the division changes nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cpu/top_units.h"
#include "kernels/fma/archive_layout.h"
#include "kernels/fma/spec.h"
#include "kernels/host/slot_segment.h"

namespace fmaserver::kernels::cpu {

class DividedScans {
 public:
  /// Groups of a part are at least this many.
  static constexpr int64_t kLeastGroups = 16;

  /// Some of the groups that one KV head of one segment scans.
  struct Part {
    int64_t segment;
    int32_t kv_head;
    GroupRange groups;
  };

  DividedScans() = default;

  /// For a step with these segments. With enough of them nothing is divided.
  DividedScans(const AttentionSpec& spec, const ArchiveLayout& layout,
               std::span<const SlotSegment> segments, int threads)
      : heads_(spec.num_kv_heads), first_(segments.size() * heads_ + 1, 0) {
    const auto count = static_cast<int64_t>(segments.size());
    const bool few = spec.Opens() && threads > 1 && count * heads_ < int64_t{2} * threads;
    for (int64_t i = 0; i < count * heads_; ++i) {
      const SlotSegment& segment = segments[i / heads_];
      const bool one = segment.opens && segment.rows == 1 && !segment.tentative;
      const int64_t groups = few && one ? layout.Groups(segment.position) : 0;
      const int64_t parts = std::min<int64_t>(groups / kLeastGroups, int64_t{2} * threads);
      for (int64_t part = 0; part < parts; ++part) {
        parts_.push_back({i / heads_,
                          static_cast<int32_t>(i % heads_),
                          {groups * part / parts, groups * (part + 1) / parts}});
      }
      first_[i + 1] = std::ssize(parts_);
    }
    found_.assign(parts_.size(), TopUnits(spec.open_units));
  }

  std::span<const Part> parts() const { return parts_; }
  /// What part number `index` found.
  TopUnits& Found(int64_t index) { return found_[index]; }
  /// What the parts found of a scan that is divided; empty for others.
  std::span<const TopUnits> Found(int64_t segment, int32_t kv_head) const {
    const int64_t i = segment * heads_ + kv_head;
    return std::span(found_).subspan(first_[i], first_[i + 1] - first_[i]);
  }

 private:
  int64_t heads_ = 0;
  std::vector<Part> parts_;      // by segment and KV head
  std::vector<int64_t> first_;   // part of each KV head, and their end
  std::vector<TopUnits> found_;  // of each part
};

}  // namespace fmaserver::kernels::cpu
