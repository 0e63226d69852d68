// Weights that are integers in blocks, on their way to the device: as integer_layout.h says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "kernels/backend.h"
#include "kernels/cuda/dense/integer_layout.h"
#include "kernels/host/rounding.h"

namespace fmaserver::kernels::cuda {

/// The strips of a stack of products, which must stay. Parts in blocks keep their numbers, others
/// are rounded to KindFor(part, format). Parts of different kinds become kInt8, with minima if one
/// has some, which stands for the same numbers.
class IntegerStrips {
 public:
  IntegerStrips(std::span<const HostLinear> stacked, std::optional<WeightFormat> format);

  StripUnit unit() const { return unit_; }
  int64_t count() const { return StripUnit::Strips(out_); }
  /// Of a strip.
  int64_t bytes() const { return units_ * unit_.Bytes(); }

  /// Writes strips [first, first + count) to memory of zeros, on as many threads as the machine has
  /// for it. Errors are those of Quantise().
  absl::Status Fill(int64_t first, int64_t count, std::byte* to) const;

 private:
  struct Part {
    const HostMatrix* weight = nullptr;
    BlockKind kind;
    int64_t first_out = 0;
  };

  absl::Status FillStrip(int64_t strip, std::byte* to) const;
  /// The part that has output `out`.
  const Part& PartOf(int64_t out) const;

  std::vector<Part> parts_;
  StripUnit unit_;
  int64_t units_ = 0;
  int64_t out_ = 0;
};

}  // namespace fmaserver::kernels::cuda
