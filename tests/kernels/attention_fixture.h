// One attention layer on any backend, fed step by step.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "tests/kernels/backends.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::testing {

class AttentionTest : public BackendTest {
 protected:
  /// A slot like a fresh or used one, in which everything may be wrong: all its numbers are NaN.
  std::unique_ptr<kernels::SlotMemory> PoisonedSlot(const kernels::SlotLayout& layout) {
    auto slot = backend().AllocateSlots(layout, 1);
    EXPECT_TRUE(slot.ok());
    const std::vector<std::byte> poison(layout.slot_bytes, std::byte{0xFF});
    EXPECT_TRUE(backend().RestoreSlot(poison, {slot->get()}).ok());
    return *std::move(slot);
  }

  std::unique_ptr<kernels::SlotMemory> SlotOfZeros(const kernels::SlotLayout& layout) {
    auto slot = backend().AllocateSlots(layout, 1);
    EXPECT_TRUE(slot.ok());
    const std::vector<std::byte> zeros(static_cast<size_t>(layout.slot_bytes));
    EXPECT_TRUE(backend().RestoreSlot(zeros, {slot->get()}).ok());
    return *std::move(slot);
  }

  std::vector<std::byte> BytesOf(const kernels::SlotMemory& slot) {
    std::vector<std::byte> bytes(slot.layout.slot_bytes);
    EXPECT_TRUE(backend().SaveSlot({&slot}, bytes).ok());
    return bytes;
  }

  struct Part {
    const kernels::SlotMemory* slot;
    int64_t position;
    int32_t rows;
    const std::vector<float>* qkv;  // of the whole sequence
    bool tentative = false;
  };

  /// Runs one step of one layer; returns [rows of all parts, H*d].
  std::vector<float> Step(const kernels::AttentionWeights& weights,
                          const kernels::AttentionSpec& spec, const std::vector<Part>& parts) {
    std::vector<kernels::Segment> segments;
    std::vector<float> qkv;
    for (const Part& part : parts) {
      segments.push_back({{part.slot}, part.position, part.rows, part.tentative});
      const auto first = part.qkv->begin() + part.position * spec.QkvColumns();
      qkv.insert(qkv.end(), first, first + part.rows * spec.QkvColumns());
    }
    const int64_t rows = static_cast<int64_t>(qkv.size()) / spec.QkvColumns();
    const int64_t columns = int64_t{spec.num_heads} * spec.head_dim;
    const DeviceMatrix input(backend(), rows, qkv);
    const DeviceMatrix out(backend(), rows, columns);
    backend().BeginStep(spec, segments);
    backend().Attend(weights, 0, input, out);
    const absl::Status status = backend().EndStep();
    EXPECT_TRUE(status.ok()) << status;
    return out.Read();
  }

  /// Feeds a whole sequence in pieces of `chunk()` rows.
  template <typename Chunk>
  std::vector<float> Feed(const kernels::AttentionWeights& weights,
                          const kernels::AttentionSpec& spec, const kernels::SlotLayout& layout,
                          const std::vector<float>& qkv, Chunk chunk) {
    const auto slot = PoisonedSlot(layout);
    const auto n = static_cast<int64_t>(qkv.size()) / spec.QkvColumns();
    std::vector<float> out;
    for (int64_t position = 0; position < n;) {
      const auto rows = static_cast<int32_t>(std::min<int64_t>(chunk(), n - position));
      const auto part = Step(weights, spec, {{slot.get(), position, rows, &qkv}});
      out.insert(out.end(), part.begin(), part.end());
      position += rows;
    }
    return out;
  }
};

}  // namespace fmaserver::testing
