// Random attention layers for tests, in the reference's form and as a backend packs them.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "tests/kernels/reference.h"

namespace fmaserver::testing {

std::vector<float> RandomFloats(int64_t count, float scale, std::mt19937& random);

/// A valid specification drawn over every option, small enough for the reference.
kernels::AttentionSpec RandomSpec(std::mt19937& random);

/// One of an encoder, of either kind.
kernels::AttentionSpec RandomEncoderSpec(std::mt19937& random);

/// One that opens units; `group_sizes` are those to draw from.
kernels::AttentionSpec RandomOpeningSpec(std::span<const int32_t> group_sizes,
                                         std::mt19937& random);

ReferenceAttention RandomAttention(const kernels::AttentionSpec& spec, std::mt19937& random);

/// For failure messages: what the specification asks for.
std::string Describe(const kernels::AttentionSpec& spec);

/// The layer's weights in the form that backends take; the layer must outlive it.
class HostLayer {
 public:
  explicit HostLayer(const ReferenceAttention& layer);
  kernels::HostAttention view() const {
    return {keys_, values_, queries_, level_bias_, query_norm_, key_norm_, layer_.rope_factors};
  }

 private:
  const ReferenceAttention& layer_;
  std::vector<kernels::HostDownsampling> keys_;
  std::vector<kernels::HostDownsampling> values_;
  std::vector<kernels::HostDownsampling> queries_;
  kernels::HostMatrix level_bias_;
  kernels::HostNorm query_norm_;
  kernels::HostNorm key_norm_;
};

std::unique_ptr<kernels::AttentionWeights> PackFor(kernels::Backend& backend,
                                                   const ReferenceAttention& layer);

}  // namespace fmaserver::testing
