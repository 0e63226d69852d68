// A few sequences with long archives are too little work for a thread each KV head: their scans are
// divided among more, a single query's by groups and those of a slice by rows. The units that are
// best of all are among the best of each part, so the division changes nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cpu/head_parts.h"
#include "kernels/cpu/top_units.h"
#include "kernels/fma/archive_layout.h"
#include "kernels/fma/spec.h"
#include "kernels/host/slot_segment.h"

namespace fmaserver::kernels::cpu {

class DividedScans {
 public:
  /// Groups of a part are at least this many, if there are so many.
  static constexpr int64_t kLeastGroups = 16;

  /// What one KV head scans for some of the rows of a segment, which are of one fine group.
  struct Part {
    int64_t segment;
    int32_t kv_head;
    int64_t first_row;
    int64_t rows;
    GroupRange groups;
    int64_t found = 0;  // number of what was found for the first row; the other rows' follow
  };

  /// For a step with these segments, on so many threads, with `most_rows` rows in a part. With
  /// enough segments nothing is divided, and of a single row only what its KV heads leave to fewer
  /// threads than there are.
  DividedScans(const AttentionSpec& spec, const ArchiveLayout& layout,
               std::span<const SlotSegment> segments, int threads, int64_t most_rows)
      : heads_(spec.num_kv_heads), scans_(segments.size() * heads_) {
    const auto count = static_cast<int64_t>(segments.size());
    if (!spec.Opens() || !HeadParts::AreFew(count * heads_, threads)) return;
    const bool row = count == 1 && segments[0].rows == 1;
    for (int64_t i = row ? heads_ - heads_ % threads : 0; i < count * heads_; ++i) {
      const SlotSegment& segment = segments[i / heads_];
      const bool scans = segment.opens && !segment.tentative;
      const int64_t groups = scans ? layout.Groups(segment.position) : 0;
      if (groups < (segment.rows == 1 ? 1 : kLeastGroups)) continue;
      const Part all = {i / heads_, static_cast<int32_t>(i % heads_), 0, segment.rows, {0, groups}};
      scans_[i] = {found_, 1, groups};
      if (segment.rows == 1) {
        scans_[i].of_row = std::clamp<int64_t>(groups / kLeastGroups, 1, threads);
        DivideGroups(all, scans_[i].of_row);
      } else {
        DivideRows(all, segment.position, layout.hierarchy.group_size, most_rows);
      }
    }
    best_.assign(found_, TopUnits(spec.open_units));
  }

  std::span<const Part> parts() const { return parts_; }
  /// What a part found for each of its rows.
  std::span<TopUnits> Found(const Part& part) {
    return std::span(best_).subspan(part.found, part.rows);
  }
  /// What the parts found for a row among the first Groups() groups, which is empty where nothing
  /// is divided.
  std::span<const TopUnits> Found(int64_t segment, int32_t kv_head, int64_t row) const {
    const Scan& scan = scans_[segment * heads_ + kv_head];
    return std::span(best_).subspan(scan.found + row * scan.of_row, scan.of_row);
  }
  /// How many groups the parts have scanned.
  int64_t Groups(int64_t segment, int32_t kv_head) const {
    return scans_[segment * heads_ + kv_head].groups;
  }

 private:
  /// Of one KV head of one segment.
  struct Scan {
    int64_t found = 0;   // number of what was found for the first row
    int64_t of_row = 0;  // how many parts each row has
    int64_t groups = 0;
  };

  void DivideGroups(Part part, int64_t count) {
    const int64_t groups = part.groups.end;
    for (int64_t i = 0; i < count; ++i) {
      part.groups = {groups * i / count, groups * (i + 1) / count};
      Add(part);
    }
  }

  void DivideRows(Part part, int64_t position, int64_t group_size, int64_t most_rows) {
    const int64_t end = part.rows;
    for (int64_t row = 0; row < end; row += part.rows) {
      part.first_row = row;
      const int64_t rest_of_group = group_size - (position + row) % group_size;
      part.rows = std::min({end - row, rest_of_group, most_rows});
      Add(part);
    }
  }

  void Add(Part part) {
    part.found = found_;
    found_ += part.rows;
    parts_.push_back(part);
  }

  int64_t heads_ = 0;
  std::vector<Part> parts_;
  std::vector<Scan> scans_;     // of each KV head of each segment
  int64_t found_ = 0;           // all parts' rows
  std::vector<TopUnits> best_;  // [found_]
};

}  // namespace fmaserver::kernels::cpu
