// Products on vectors, for weights of any type.
//
// A panel is [in, kPanel], so that SIMD lanes are outputs and every lane walks the inputs in
// order: a sum is one chain of fused multiply-adds.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "kernels/cpu/linear.h"

namespace fmaserver::kernels::cpu {

class PanelLinear : public CpuLinear {
 public:
  /// All parts share `in`; the panels keep the parts' common format. RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<PanelLinear>> Pack(std::span<const HostLinear> stacked,
                                                           ForEach for_each);

  void Multiply(ThreadPool& pool, Matrix x, bool accumulate, Matrix y) const override;
  float At(int64_t o, int64_t i) const override;

  WeightFormat format() const { return format_; }
  const std::byte* Panel(int64_t panel) const {
    return data_.get() + panel * in * kPanel * SizeOf(format_);
  }
  /// The biases of the outputs from `out` on; null: none.
  const float* BiasFrom(int64_t out) const {
    return bias_ == nullptr ? nullptr : bias_.get() + out;
  }

 private:
  BlockPart data_;  // [panels, in, kPanel]; outputs past `out` are zero
};

}  // namespace fmaserver::kernels::cpu
