// Which tokens stand for the groups of the far field, in whole models: the golden choices.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "model_loader/checkpoint.h"
#include "nlohmann/json.hpp"
#include "server/engine/model.h"
#include "server/engine/slot_pool.h"
#include "tests/support/paths.h"

namespace fmaserver::testing {
namespace {

using nlohmann::json;

/// The representatives of a group that is in view, in layer 0 and KV head 0.
std::vector<int64_t> Representatives(const engine::Model& model, const engine::Slot& slot,
                                     int64_t tokens, int level, int64_t group) {
  const auto state = slot.Save(tokens);
  EXPECT_TRUE(state.ok()) << state.status();
  const kernels::SlotLayout& layout = model.layout();
  std::vector<int64_t> positions(layout.hierarchy.rank);
  const int64_t offset = layout.positions_offset +
                         layout.FarColumn(level, group) * static_cast<int64_t>(sizeof(int64_t));
  std::memcpy(positions.data(), (*state)->bytes().data() + offset,
              positions.size() * sizeof(int64_t));
  return positions;
}

class SelectedTokensTest : public ::testing::TestWithParam<std::string> {};

TEST_P(SelectedTokensTest, AreTheGoldenOnes) {
  const std::filesystem::path folder = SourceDir() / "tests" / "data" / "golden" / GetParam();
  std::ifstream file(folder / "case.json");
  const json golden = json::parse(file);
  const auto tokens = golden["tokens"].get<std::vector<int32_t>>();
  const auto checkpoint = model::Checkpoint::Open(folder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto model = engine::Model::Load(*checkpoint, *kernels::MakeCpuBackend(1), {.max_rows = 1});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto pool = engine::SlotPool::Create((*model)->backend(), (*model)->layout(), 1);
  const engine::Slot slot = (*pool)->Acquire();
  auto choice = golden["chosen"].begin();  // in the order in which they are made
  for (int64_t t = 0; t < std::ssize(tokens); ++t) {
    const engine::StepSegment segment{slot.handle(), t, std::span(tokens).subspan(t, 1), 1};
    ASSERT_TRUE((*model)->Step({&segment, 1}).ok());
    for (; choice != golden["chosen"].end(); ++choice) {
      const int level = (*choice)[0];
      const int64_t group = (*choice)[1];
      if (t / checkpoint->config().attention.hierarchy.GroupTokens(level) < group + 2) break;
      const auto expected = (*choice)[2].get<std::vector<int64_t>>();
      ASSERT_EQ(Representatives(**model, slot, t + 1, level, group), expected) << *choice;
    }
  }
  EXPECT_EQ(choice, golden["chosen"].end());
}

INSTANTIATE_TEST_SUITE_P(Golden, SelectedTokensTest,
                         ::testing::Values("select_own", "select_max_distance", "pretrained_llama3",
                                           "pretrained_qwen2_yarn", "pretrained_qwen3",
                                           "pretrained_smollm3"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace fmaserver::testing
