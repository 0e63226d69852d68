// What the decode kernel moves between device memory and the chip, beside what must move. Counted
// by the emulator; the table is in docs/performance.md.
#include <cstdio>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/fma/element.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/cuda_layer.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::testing {
namespace {

constexpr int64_t kSectorBytes = 32;

/// Keys that a query at `position` sees, itself among them.
int64_t VisibleKeys(const Hierarchy& h, int64_t position) {
  const int64_t fine_group = h.FineGroup(position);
  int64_t keys = position + 1 - std::max<int64_t>(0, fine_group - 1) * h.group_size;
  if (fine_group >= Hierarchy::kFirstGroupWithSinks) keys += h.sink_tokens;
  for (int level = 1; level <= h.num_levels; ++level) {
    const GroupRange groups = Hierarchy::FarGroups(level, fine_group).Existing();
    keys += (groups.end - groups.first) * h.rank;
  }
  return keys;
}

/// What one token of one KV head must move: the product's row in and the output out, every key and
/// value that the query sees, the token's own, and the running sums of the level that tokens feed
/// with one tap for each. For a token that completes no group, with hierarchical downsampling.
int64_t FloorBytes(const AttentionSpec& spec, const SlotLayout& layout, int64_t position) {
  const int64_t d = spec.head_dim;
  const int64_t vector = 2 * d * SizeOf(layout.dtype);  // a key and a value
  const int64_t heads = spec.QueriesPerKvHead();
  const int64_t row = (heads + 2 + heads) * d * 4;
  const int64_t sums = 2 * spec.hierarchy.rank * d * 4;
  return row + VisibleKeys(spec.hierarchy, position) * vector + vector + 3 * sums;
}

/// A slot with a number in every element.
std::vector<std::byte> SomeSlot(const SlotLayout& layout, std::mt19937& random) {
  std::vector<std::byte> bytes(layout.slot_bytes);
  for (size_t i = 0; i < bytes.size(); i += 4) {
    const float number = static_cast<float>(random() % 1000) / 1000;
    std::memcpy(bytes.data() + i, &number, sizeof(number));
  }
  return bytes;
}

TEST(CudaTrafficTest, NineTenthsOfWhatDecodeMovesMustMove) {
  std::printf("| cache | heads | position | keys | floor | moved | floor / moved | in sectors |\n");
  std::mt19937 random(1);
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    for (const int heads : {1, 4}) {
      AttentionSpec spec;
      spec.num_heads = heads;
      spec.num_kv_heads = 1;
      spec.head_dim = 128;
      spec.hierarchy = {64, 4, 15, 0};
      spec.share_levels = true;
      CudaLayer device(RandomAttention(spec, random), dtype);
      const auto slot = device.NewSlot();
      device.Fill(slot, SomeSlot(device.layout(), random));
      for (const int64_t position : {1'000, 131'070, 1'000'030}) {
        const auto qkv = RandomFloats(spec.QkvColumns(), 1.0F, random);
        cuda::emulator::TrafficByKernel().clear();
        device.Step({{slot.data(), position, 1, qkv}});
        const auto traffic = cuda::emulator::TrafficByKernel()["decode_attention"];
        const int64_t moved = traffic.loaded_bytes + traffic.stored_bytes;
        const int64_t sectors = traffic.loaded_sectors + traffic.stored_sectors;
        const int64_t floor = FloorBytes(spec, device.layout(), position);
        const double ratio = static_cast<double>(floor) / static_cast<double>(moved);
        std::printf("| %s | %d | %ld | %ld | %ld | %ld | %.3f | %.3f |\n", NameOf(dtype).data(),
                    heads, static_cast<long>(position),
                    static_cast<long>(VisibleKeys(spec.hierarchy, position)),
                    static_cast<long>(floor), static_cast<long>(moved), ratio,
                    static_cast<double>(floor) / static_cast<double>(sectors * kSectorBytes));
        EXPECT_GE(ratio, 0.9);
      }
    }
  }
}

}  // namespace
}  // namespace fmaserver::testing
