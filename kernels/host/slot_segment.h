// A step's segments as a backend's attention needs them, and what becomes of tentative ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "kernels/backend.h"

namespace fmaserver::kernels {

/// A segment, and where its slot and its rows lie.
struct SlotSegment {
  std::byte* slot = nullptr;  ///< in the backend's memory
  int64_t position = 0;
  int64_t rows = 0;
  int64_t first_row = 0;   ///< of the matrices
  bool tentative = false;  ///< the slot stays as it is
  bool opens = false;      ///< as of Segment, like all that follow
  std::span<ArchiveGroup* const> archive = {};
  std::span<float> unit_weights = {};
  std::span<float> attention_shares = {};
};

/// `find` returns the address of a SlotHandle's slot.
template <typename Find>
std::vector<SlotSegment> SlotSegments(std::span<const Segment> segments, const Find& find) {
  std::vector<SlotSegment> found;
  int64_t row = 0;
  for (const Segment& segment : segments) {
    const int64_t first = std::exchange(row, row + segment.rows);
    found.push_back({find(segment.slot), segment.position, segment.rows, first, segment.tentative,
                     segment.opens, segment.archive, segment.unit_weights,
                     segment.attention_shares});
  }
  return found;
}

/// The tentative segments of `step`, as they will be appended: their rows follow each other.
inline std::vector<SlotSegment> TentativeOf(std::span<const SlotSegment> step) {
  std::vector<SlotSegment> tentative;
  int64_t row = 0;
  for (SlotSegment segment : step) {
    if (!segment.tentative) continue;
    segment.first_row = std::exchange(row, row + segment.rows);
    segment.tentative = false;
    segment.unit_weights = {};  // told already, and perhaps gone
    segment.attention_shares = {};
    tentative.push_back(segment);
  }
  return tentative;
}

/// Shortens each of `tentative` to its accepted rows. INVALID_ARGUMENT unless `accepted` has a
/// number for each, from 0 to its rows.
inline absl::StatusOr<std::vector<SlotSegment>> Accepted(std::vector<SlotSegment> tentative,
                                                         std::span<const int32_t> accepted) {
  if (accepted.size() != tentative.size()) {
    return absl::InvalidArgumentError(absl::StrCat("segments to commit are ", accepted.size(),
                                                   "; allowed: ", tentative.size(),
                                                   ", as many as the last step has tentative"));
  }
  for (size_t i = 0; i < accepted.size(); ++i) {
    if (accepted[i] < 0 || accepted[i] > tentative[i].rows) {
      return absl::InvalidArgumentError(absl::StrCat("rows to commit of tentative segment ", i,
                                                     " are ", accepted[i], "; allowed: 0 to ",
                                                     tentative[i].rows));
    }
    tentative[i].rows = accepted[i];
  }
  return tentative;
}

}  // namespace fmaserver::kernels
