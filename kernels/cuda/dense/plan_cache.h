// Plans that are made once for each shape.
#pragma once

#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fmaserver::kernels::cuda {

template <typename Shape, typename Plan>
class PlanCache {
 public:
  /// The plan of `shape`, which `make(Plan&)` fills in when there is none yet. A failure of `make`
  /// is not remembered, so that memory that was short once does not matter for ever. The plan's
  /// address never changes.
  template <typename Make>
  absl::StatusOr<Plan*> Find(const Shape& shape, const Make& make) {
    auto found = plans_.find(shape);
    if (found == plans_.end()) {
      Plan plan;
      if (absl::Status status = make(plan); !status.ok()) return status;
      found = plans_.emplace(shape, std::move(plan)).first;
    }
    return &found->second;
  }

 private:
  std::map<Shape, Plan> plans_;
};

}  // namespace fmaserver::kernels::cuda
