#include "kernels/cpu/task_order.h"

#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/fma/archive_layout.h"
#include "kernels/fma/cache_type.h"
#include "kernels/fma/slot_layout.h"
#include "kernels/fma/spec.h"
#include "kernels/host/slot_segment.h"

namespace fmaserver::kernels::cpu {
namespace {

using Kind = TaskOrder::Kind;

AttentionSpec SpecOf(int32_t kv_heads) {
  AttentionSpec spec;
  spec.num_heads = 3 * kv_heads;
  spec.num_kv_heads = kv_heads;
  spec.head_dim = 16;
  spec.hierarchy = {16, 4, 6, 0};
  spec.downsampling = Downsampling::kSelect;
  spec.open_units = 4;
  spec.open_size = 8;
  return spec;
}

/// What threads do of segments with an archive of 100 groups.
struct Attention {
  Attention(int32_t kv_heads, const std::vector<int64_t>& rows, int threads)
      : spec(SpecOf(kv_heads)), layout(spec, 1, CacheType::kF32) {
    for (const int64_t count : rows) {
      segments.push_back({.position = 1616, .rows = count, .opens = true});
    }
    scans.emplace(spec, layout.Archive(spec), segments, threads, 16);
    heads.emplace(spec, segments, threads, layout.columns);
    order.emplace(std::ssize(segments), kv_heads, *scans, *heads, threads);
  }

  AttentionSpec spec;
  SlotLayout layout;
  std::vector<SlotSegment> segments;
  std::optional<DividedScans> scans;
  std::optional<HeadParts> heads;
  std::optional<TaskOrder> order;
};

/// The place of every task, by kind and number.
std::map<std::tuple<Kind, int64_t>, int64_t> Places(const TaskOrder& order) {
  std::map<std::tuple<Kind, int64_t>, int64_t> places;
  for (const TaskOrder::Task& task : order.tasks()) {
    places.emplace(std::tuple(task.kind, task.index), std::ssize(places));
  }
  return places;
}

TEST(TaskOrderTest, EveryTaskIsThereOnceAndBehindWhatItNeeds) {
  for (const int32_t kv_heads : {1, 2, 3, 5, 8}) {
    for (const int threads : {1, 2, 3, 4, 6, 16}) {
      for (const std::vector<int64_t>& rows :
           std::vector<std::vector<int64_t>>{{1}, {64}, {40, 1}, {1, 1, 1}}) {
        SCOPED_TRACE(::testing::Message() << kv_heads << " KV heads, " << threads << " threads, "
                                          << rows.size() << " segments, " << rows[0] << " rows");
        const Attention attention(kv_heads, rows, threads);
        const auto places = Places(*attention.order);
        const int64_t scans = std::ssize(attention.scans->parts());
        const int64_t begins = std::ssize(attention.heads->divided());
        const int64_t heads = std::ssize(attention.heads->all());
        ASSERT_EQ(std::ssize(attention.order->tasks()), scans + begins + heads);
        ASSERT_EQ(std::ssize(places), scans + begins + heads);
        for (const TaskOrder::Task& head : attention.order->tasks()) {
          if (head.kind != Kind::kHead) continue;
          const HeadPart& part = attention.heads->all()[head.index];
          EXPECT_EQ(head.kv_head, part.segment * kv_heads + part.kv_head);
          const int64_t place = places.at({Kind::kHead, head.index});
          for (int64_t i = 0; i < scans; ++i) {
            const DividedScans::Part& scan = attention.scans->parts()[i];
            if (scan.segment != part.segment || scan.kv_head != part.kv_head) continue;
            EXPECT_LT(places.at({Kind::kScan, i}), place);
          }
          for (int64_t i = 0; i < begins; ++i) {
            const HeadPart& begin = attention.heads->divided()[i];
            if (begin.segment != part.segment || begin.kv_head != part.kv_head) continue;
            EXPECT_LT(places.at({Kind::kBegin, i}), place);
          }
        }
      }
    }
  }
}

// Or one thread would attend with the third head while the other has nothing to do.
TEST(TaskOrderTest, AHeadThatIsOneTooManyComesBeforeTheLastScans) {
  const Attention attention(3, {64}, 2);
  const auto places = Places(*attention.order);
  const int64_t scans = std::ssize(attention.scans->parts());
  ASSERT_EQ(scans, 12);
  const int64_t first_head = places.at({Kind::kHead, 0});
  EXPECT_GT(first_head, places.at({Kind::kScan, 7}));
  EXPECT_LT(first_head, places.at({Kind::kScan, 8}));
  EXPECT_GT(places.at({Kind::kHead, 1}), places.at({Kind::kScan, 11}));
}

TEST(TaskOrderTest, AHeadWaitsForItsOwnScansInEveryLayer) {
  Attention attention(3, {64}, 2);
  TaskOrder& order = *attention.order;
  for (int layer = 0; layer < 2; ++layer) {
    order.Restart();
    for (const TaskOrder::Task& task : order.tasks()) {
      order.Await(task);  // would not return if it waited for what comes later
      order.End(task);
    }
  }
}

}  // namespace
}  // namespace fmaserver::kernels::cpu
