// Attention on any number of threads, among which little work is divided.
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "tests/kernels/attention_fixture.h"
#include "tests/kernels/random_attention.h"

namespace fmaserver::testing {
namespace {

constexpr std::array<int32_t, 6> kGroupSizes = {1, 2, 4, 6, 8, 16};

class ThreadsTest : public AttentionTest {
 protected:
  /// What sequences of a layer leave behind.
  struct Left {
    std::vector<float> out;
    std::vector<std::vector<std::byte>> slots;
    std::vector<std::vector<std::byte>> archives;
    bool operator==(const Left&) const = default;
  };

  /// Feeds `sequences` in steps that have them all, mostly row by row. `seed` decides how.
  Left FeedAll(const ReferenceAttention& layer, kernels::CacheType type,
               const std::vector<std::vector<float>>& sequences, uint32_t seed) {
    std::mt19937 random(seed);
    const kernels::AttentionSpec& spec = layer.spec;
    const kernels::SlotLayout layout(spec, 1, type);
    const auto weights = PackFor(backend(), layer);
    const auto n = static_cast<int64_t>(sequences[0].size()) / spec.QkvColumns();
    std::vector<std::unique_ptr<kernels::SlotMemory>> slots;
    std::vector<TestArchive> archives;
    for (size_t i = 0; i < sequences.size(); ++i) {
      slots.push_back(PoisonedSlot(layout));
      archives.emplace_back(kernels::ArchiveLayout(spec, 1, type));
    }
    Left left;
    for (int64_t position = 0; position < n;) {
      const int64_t some = random() % 8 == 0 ? 1 + random() % 20 : 1;
      const auto rows = static_cast<int32_t>(std::min(some, n - position));
      std::vector<Part> parts;
      for (size_t i = 0; i < sequences.size(); ++i) {
        TestArchive* const opens = spec.Opens() ? &archives[i] : nullptr;
        parts.push_back({slots[i].get(), position, rows, &sequences[i], false, opens});
      }
      const auto out = Step(*weights, spec, parts);
      left.out.insert(left.out.end(), out.begin(), out.end());
      position += rows;
    }
    for (size_t i = 0; i < sequences.size(); ++i) {
      left.slots.push_back(BytesOf(*slots[i]));
      left.archives.push_back(archives[i].Bytes(backend(), n));
    }
    return left;
  }
};

TEST_P(ThreadsTest, HowManyThereAreChangesNoBit) {
  std::mt19937 random(1);
  for (int round = 0; round < 40; ++round) {
    const kernels::AttentionSpec spec =
        round % 2 == 0 ? RandomOpeningSpec(kGroupSizes, random) : RandomSpec(random);
    SCOPED_TRACE(Describe(spec));
    const ReferenceAttention layer = RandomAttention(spec, random);
    const int64_t n = 60 + static_cast<int64_t>(random() % 100);
    std::vector<std::vector<float>> sequences(1 + round % 2);
    for (auto& qkv : sequences) qkv = RandomFloats(n * spec.QkvColumns(), 1.0F, random);
    const auto seed = static_cast<uint32_t>(random());
    UseThreads(1);
    const Left expected = FeedAll(layer, TypeOfRound(round), sequences, seed);
    for (const int threads : {2, 3, 7}) {
      UseThreads(threads);
      ASSERT_TRUE(FeedAll(layer, TypeOfRound(round), sequences, seed) == expected)
          << threads << " threads";
    }
  }
}

FMA_ON_BACKENDS(ThreadsTest, CpuBackendNames);

}  // namespace
}  // namespace fmaserver::testing
