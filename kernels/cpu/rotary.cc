#include "kernels/cpu/rotary.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace fmaserver::kernels::cpu {
namespace {

int64_t OffsetsOf(const AttentionSpec& spec) {
  return spec.Selects() ? int64_t{spec.hierarchy.group_size} : 0;
}

}  // namespace

Rotary::Rotary(const AttentionSpec& spec, std::vector<double> frequencies)
    : frequencies_(std::move(frequencies)), max_distance_(spec.max_distance) {
  const int64_t dim = 2 * half();
  distant_.resize(static_cast<size_t>(dim));
  Fill(static_cast<double>(max_distance_), distant_.data());
  offsets_.resize(static_cast<size_t>(OffsetsOf(spec) * dim));
  for (int64_t i = 0; i < OffsetsOf(spec); ++i) {
    Fill(static_cast<double>(i), offsets_.data() + i * dim);
  }
}

bool Rotary::IsOf(const AttentionSpec& spec, std::span<const double> frequencies) const {
  return std::ranges::equal(frequencies, frequencies_) && spec.max_distance == max_distance_ &&
         OffsetsOf(spec) * 2 * half() == std::ssize(offsets_);
}

void Rotary::Fill(double position, float* rotation) const {
  for (int64_t i = 0; i < half(); ++i) {
    const double angle = position * frequencies_[i];
    rotation[i] = static_cast<float>(std::cos(angle));
    rotation[half() + i] = static_cast<float>(std::sin(angle));
  }
}

}  // namespace fmaserver::kernels::cpu
