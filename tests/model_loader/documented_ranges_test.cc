// docs/model.md gives each integer of config.json its range, the trainer keeps to the same
// (tests/training/test_config.py), and here the loader is held to it.
#include <fstream>
#include <map>
#include <regex>
#include <sstream>

#include "base/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model_loader/model_config.h"
#include "nlohmann/json.hpp"

namespace fmaserver::model {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

struct Range {
  int64_t low;
  int64_t high;
};

/// "65,536" or "2^20".
int64_t Number(std::string text) {
  std::erase(text, ',');
  const size_t power = text.find('^');
  const int64_t base = std::stoll(text);
  return power == std::string::npos ? base : base << (std::stoll(text.substr(power + 1)) - 1);
}

/// The rows "| `key` (X) | 1 to 2^24; more | ..." of the document.
std::map<std::string, Range> DocumentedRanges() {
  std::stringstream text;
  text << std::ifstream(FMA_SOURCE_DIR "/docs/model.md").rdbuf();
  const std::string document = text.str();
  const std::regex row(R"(\| `(\w+)`(?: \(\w\))? \| ([\d,^]+) to ([\d,^]+)[; |])");
  std::map<std::string, Range> ranges;
  for (std::sregex_iterator i(document.begin(), document.end(), row), end; i != end; ++i) {
    ranges[(*i)[1]] = {Number((*i)[2]), Number((*i)[3])};
  }
  return ranges;
}

/// What the loader says of a sound config with `key` changed to `value`.
std::string Refusal(const std::string& key, int64_t value) {
  json config = json::parse(R"({
    "model_type": "fma", "vocab_size": 300, "hidden_size": 48, "intermediate_size": 96,
    "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 128, "position_embedding": "rope", "norm": "rmsnorm",
    "norm_eps": 1e-05, "mlp": "swiglu",
    "fma": {"group_size": 8, "rank": 2, "num_levels": 4, "downsampling": "hierarchical",
            "scale_far_field": true, "padding": "masked", "open_units": 0}})");
  json& object = config["fma"].contains(key) ? config["fma"] : config;
  object[key] = value;
  return std::string(ParseModelConfig(config.dump(), "config.json").status().message());
}

TEST(DocumentedRangesTest, AreTheLoaders) {
  const std::map<std::string, Range> ranges = DocumentedRanges();
  ASSERT_EQ(ranges.count("vocab_size"), 1U);
  ASSERT_EQ(ranges.at("hidden_size").high, 65536);
  ASSERT_GE(ranges.size(), 9U);
  for (const auto& [key, range] : ranges) {
    const std::string allowed = Concat("allowed: an integer from ", range.low, " to ", range.high);
    EXPECT_THAT(Refusal(key, range.low - 1), HasSubstr(allowed)) << key;
    EXPECT_THAT(Refusal(key, range.high + 1), HasSubstr(allowed)) << key;
    EXPECT_THAT(Refusal(key, range.low), Not(HasSubstr(allowed))) << key;
    EXPECT_THAT(Refusal(key, range.high), Not(HasSubstr(allowed))) << key;
  }
}

}  // namespace
}  // namespace fmaserver::model
