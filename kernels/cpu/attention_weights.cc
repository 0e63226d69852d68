#include "kernels/cpu/attention_weights.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cpu/scalar.h"

namespace fmaserver::kernels::cpu {
namespace {

/// From Conv1d's [d*p, taps] to [taps, p, D], and for conv from [d*p, d, w] to [w, p, d, D].
PackedDownsampling PackOne(const AttentionSpec& spec, const HostDownsampling& source) {
  const int64_t rank = spec.hierarchy.rank;
  const int64_t dim = spec.head_dim;
  const int64_t padded = SlotLayout::RoundUp(dim, SlotLayout::kLane);
  const int64_t mixed = spec.downsampling == Downsampling::kConv ? dim : 1;
  const int64_t inputs = source.weight.cols / mixed;
  const int64_t size = inputs * rank * mixed * padded;
  PackedDownsampling packed{TryAllocateAligned<float>(size),
                            TryAllocateAligned<float>(rank * padded)};
  if (packed.weight == nullptr || packed.bias == nullptr) return packed;
  std::fill_n(packed.weight.get(), size, 0.0F);
  std::fill_n(packed.bias.get(), rank * padded, 0.0F);
  for (int64_t c = 0; c < dim; ++c) {
    for (int64_t r = 0; r < rank; ++r) {
      packed.bias[r * padded + c] = ElementAsFloat(source.bias, c * rank + r);
      for (int64_t from = 0; from < mixed; ++from) {
        for (int64_t i = 0; i < inputs; ++i) {
          packed.weight[((i * rank + r) * mixed + from) * padded + c] =
              ElementAsFloat(source.weight, ((c * rank + r) * mixed + from) * inputs + i);
        }
      }
    }
  }
  return packed;
}

absl::Status PackAll(const AttentionSpec& spec, std::span<const HostDownsampling> sources,
                     std::vector<PackedDownsampling>& packed) {
  for (const HostDownsampling& source : sources) {
    packed.push_back(PackOne(spec, source));
    if (packed.back().weight == nullptr || packed.back().bias == nullptr) {
      return absl::ResourceExhaustedError(absl::StrCat("no memory for a downsampling weight of ",
                                                       source.weight.rows, " x ",
                                                       source.weight.cols));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<PackedAttention>> PackedAttention::Pack(
    const AttentionSpec& spec, const HostAttention& weights) {
  auto packed = std::make_unique<PackedAttention>();
  packed->spec = spec;
  absl::Status status = PackAll(spec, weights.keys, packed->keys);
  status.Update(PackAll(spec, weights.values, packed->values));
  if (!status.ok()) return status;
  for (int32_t head = 0; head < spec.num_heads; ++head) {
    for (int level = 1; level <= spec.hierarchy.num_levels; ++level) {
      float bias = 0;
      if (weights.level_bias.data != nullptr) {
        const int64_t columns = weights.level_bias.cols;
        bias = ElementAsFloat(weights.level_bias,
                              head * columns + std::min<int64_t>(level, columns) - 1);
      }
      if (spec.scale_far_field) {
        bias += std::log(static_cast<float>(spec.hierarchy.TokensPerSummary(level)));
      }
      packed->far_bias.push_back(bias);
    }
  }
  return packed;
}

}  // namespace fmaserver::kernels::cpu
