// Groups of archives in host memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "kernels/backend.h"
#include "kernels/cpu/sketch_pool.h"

namespace fmaserver::kernels {

class HostGroup : public ArchiveGroup {
 public:
  /// `sketches`: taken from `pool`.
  HostGroup(std::byte* of_tokens, const SketchColumn& sketches, std::shared_ptr<SketchPool> pool)
      : sketches_(sketches), pool_(std::move(pool)) {
    tokens = of_tokens;
  }
  ~HostGroup() override { pool_->Give(sketches_); }
  HostGroup(const HostGroup&) = delete;
  HostGroup& operator=(const HostGroup&) = delete;

  const SketchColumn& sketches() const { return sketches_; }

 private:
  const SketchColumn sketches_;
  const std::shared_ptr<SketchPool> pool_;
};

inline const SketchColumn& SketchesOf(const ArchiveGroup& group) {
  return static_cast<const HostGroup&>(group).sketches();
}

}  // namespace fmaserver::kernels
