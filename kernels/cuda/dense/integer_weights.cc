#include "kernels/cuda/dense/integer_weights.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>

namespace fmaserver::kernels::cuda {
namespace {

/// Calls body(i) for every i in [0, count), and returns the first error.
template <typename Body>
absl::Status ForEach(int64_t count, const Body& body) {
  std::atomic<int64_t> next = 0;
  std::mutex mutex;
  absl::Status status;
  const auto work = [&] {
    for (int64_t i = next++; i < count; i = next++) {
      const absl::Status one = body(i);
      if (one.ok()) continue;
      const std::lock_guard lock(mutex);
      status.Update(one);
    }
  };
  std::vector<std::jthread> others;
  const int64_t threads = std::min<int64_t>(std::thread::hardware_concurrency(), count);
  for (int64_t i = 1; i < threads; ++i) others.emplace_back(work);
  work();
  others.clear();
  return status;
}

/// The same numbers as a block of `unit`, which may be wider.
WeightBlock AsBlockOf(StripUnit unit, WeightBlock block) {
  if (unit.format == WeightFormat::kInt8 && block.format == WeightFormat::kInt4 &&
      !block.has_minimum) {
    for (int8_t& code : block.codes) code = static_cast<int8_t>(code - kInt4Offset);
  }
  return block;
}

void PutBlock(StripUnit unit, const WeightBlock& block, int64_t out, int64_t in_unit,
              std::byte* to) {
  const int64_t half = StripUnit::HalfOffset(out, in_unit);
  std::memcpy(to + unit.ScalesOffset() + half, &block.scale, sizeof(block.scale));
  if (unit.has_minima) {
    std::memcpy(to + unit.MinimaOffset() + half, &block.minimum, sizeof(block.minimum));
  }
  const bool is_int8 = unit.format == WeightFormat::kInt8;
  for (int64_t i = 0; i < (is_int8 ? kWeightBlock : kWeightBlock / 2); ++i) {
    const int upper = is_int8 ? 0 : block.codes[kWeightBlock / 2 + i] << 4;
    to[unit.CodeOffset(out, in_unit, i)] = static_cast<std::byte>(block.codes[i] | upper);
  }
}

}  // namespace

IntegerStrips::IntegerStrips(std::span<const HostLinear> stacked,
                             std::optional<WeightFormat> format)
    : units_(UnitsOf(stacked.front().weight.cols)) {
  bool same = true;
  for (const HostLinear& part : stacked) {
    const BlockKind kind = KindOf(part.weight, format);
    parts_.push_back({&part.weight, kind, out_});
    out_ += part.weight.rows;
    unit_.has_minima = unit_.has_minima || kind.has_minima;
    same = same && kind == parts_.front().kind;
  }
  unit_.format = same ? parts_.front().kind.format : WeightFormat::kInt8;
}

const IntegerStrips::Part& IntegerStrips::PartOf(int64_t out) const {
  return *std::prev(std::ranges::upper_bound(parts_, out, {}, &Part::first_out));
}

absl::Status IntegerStrips::Fill(int64_t first, int64_t count, std::byte* to) const {
  return ForEach(count,
                 [&](int64_t strip) { return FillStrip(first + strip, to + strip * bytes()); });
}

absl::Status IntegerStrips::FillStrip(int64_t strip, std::byte* to) const {
  const int64_t first = strip * StripUnit::kOutputs;
  std::vector<WeightBlock> blocks(BlocksOfRow(parts_.front().weight->cols));
  for (int64_t out = first; out < std::min(first + StripUnit::kOutputs, out_); ++out) {
    const Part& part = PartOf(out);
    absl::Status status = BlocksOf(*part.weight, out - part.first_out, part.kind, blocks);
    if (!status.ok()) return status;
    for (int64_t b = 0; b < std::ssize(blocks); ++b) {
      PutBlock(unit_, AsBlockOf(unit_, blocks[b]), out - first, b % kUnitBlocks,
               to + b / kUnitBlocks * unit_.Bytes());
    }
  }
  return absl::OkStatus();
}

}  // namespace fmaserver::kernels::cuda
