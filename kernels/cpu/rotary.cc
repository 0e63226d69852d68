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
    : frequencies_(std::move(frequencies)),
      max_distance_(spec.max_distance),
      group_size_(spec.hierarchy.group_size) {
  const int64_t dim = 2 * half();
  distant_.resize(static_cast<size_t>(dim));
  Fill(static_cast<double>(max_distance_), distant_.data());
  const int64_t offsets = OffsetsOf(spec);
  offsets_.resize(static_cast<size_t>(offsets * dim));
  offset_columns_.resize(offsets_.size());
  for (int64_t i = 0; i < offsets; ++i) {
    float* rotation = offsets_.data() + i * dim;
    Fill(static_cast<double>(i), rotation);
    for (int64_t c = 0; c < dim; ++c) offset_columns_[c * offsets + i] = rotation[c];
  }
}

bool Rotary::IsOf(const AttentionSpec& spec, std::span<const double> frequencies) const {
  return std::ranges::equal(frequencies, frequencies_) && spec.max_distance == max_distance_ &&
         spec.hierarchy.group_size == group_size_ &&
         OffsetsOf(spec) * 2 * half() == std::ssize(offsets_);
}

void Rotary::ReachGroups(int64_t groups, ThreadPool& pool) {
  const int64_t dim = 2 * half();
  const int64_t before = std::ssize(group_starts_) / dim;
  if (groups <= before) return;
  group_starts_.resize(static_cast<size_t>(groups * dim));
  pool.ParallelFor(groups - before, [&](int64_t i, int) {
    const int64_t group = before + i;
    Fill(static_cast<double>(group * group_size_), group_starts_.data() + group * dim);
  });
}

void Rotary::Fill(double position, float* rotation) const {
  for (int64_t i = 0; i < half(); ++i) {
    const double angle = position * frequencies_[i];
    rotation[i] = static_cast<float>(std::cos(angle));
    rotation[half() + i] = static_cast<float>(std::sin(angle));
  }
}

}  // namespace fmaserver::kernels::cpu
