#include "model_loader/model_config.h"

#include <cstdint>
#include <limits>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/status_matchers.h"

namespace fmaserver::model {
namespace {

using nlohmann::json;
using testing::ExpectRefusal;

json Valid() {
  return json::parse(R"({
    "architectures": ["FmaForCausalLM"], "model_type": "fma", "vocab_size": 300,
    "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 128, "position_embedding": "rope", "rope_theta": 500000.0,
    "norm": "rmsnorm", "norm_eps": 1e-05, "mlp": "swiglu", "attention_bias": true,
    "mlp_bias": false, "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": [1, 299],
    "torch_dtype": "float32",
    "fma": {"group_size": 8, "rank": 2, "num_levels": 4, "downsampling": "hierarchical",
            "share_levels": true, "scale_far_field": true, "padding": "zero_keys",
            "level_bias": true, "sink_tokens": 3, "far_positions": "none"}})");
}

TEST(ModelConfigTest, ReadsEveryKey) {
  const auto config = ParseModelConfig(Valid().dump(), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->vocab_size, 300);
  EXPECT_EQ(config->hidden_size, 48);
  EXPECT_EQ(config->intermediate_size, 96);
  EXPECT_EQ(config->num_layers, 2);
  EXPECT_EQ(config->max_position_embeddings, 128);
  EXPECT_EQ(config->norm, kernels::NormKind::kRmsNorm);
  EXPECT_EQ(config->norm_eps, 1e-5F);
  EXPECT_EQ(config->mlp, kernels::MlpKind::kSwiglu);
  EXPECT_TRUE(config->attention_bias);
  EXPECT_FALSE(config->mlp_bias);
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_EQ(config->bos_token_ids, std::vector<int32_t>({0}));
  EXPECT_EQ(config->eos_token_ids, std::vector<int32_t>({1, 299}));
  EXPECT_EQ(config->tokenizer, TokenizerKind::kFile);
  EXPECT_EQ(config->MaxSequenceLength(), std::numeric_limits<int64_t>::max());

  const kernels::AttentionSpec& spec = config->attention;
  EXPECT_EQ(spec.num_heads, 6);
  EXPECT_EQ(spec.num_kv_heads, 2);
  EXPECT_EQ(spec.head_dim, 8);
  EXPECT_EQ(spec.hierarchy.group_size, 8);
  EXPECT_EQ(spec.hierarchy.rank, 2);
  EXPECT_EQ(spec.hierarchy.num_levels, 4);
  EXPECT_EQ(spec.hierarchy.sink_tokens, 3);
  EXPECT_EQ(spec.downsampling, kernels::Downsampling::kHierarchical);
  EXPECT_TRUE(spec.share_levels);
  EXPECT_TRUE(spec.scale_far_field);
  EXPECT_TRUE(spec.level_bias);
  EXPECT_EQ(spec.padding, kernels::Padding::kZeroKeys);
  EXPECT_EQ(spec.positions, kernels::PositionEmbedding::kRope);
  EXPECT_EQ(spec.far_positions, kernels::FarPositions::kNone);
  EXPECT_EQ(spec.rope_theta, 500000.0);
}

TEST(ModelConfigTest, FillsInDefaults) {
  json object = Valid();
  for (const char* key : {"architectures", "num_key_value_heads", "rope_theta", "attention_bias",
                          "mlp_bias", "tie_word_embeddings", "bos_token_id"}) {
    object.erase(key);
  }
  object["head_dim"] = nullptr;
  object["eos_token_id"] = nullptr;
  for (const char* key : {"share_levels", "level_bias", "sink_tokens", "far_positions"}) {
    object["fma"].erase(key);
  }
  const auto config = ParseModelConfig(object.dump(), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->attention.num_kv_heads, 6);
  EXPECT_EQ(config->attention.head_dim, 8);
  EXPECT_EQ(config->attention.rope_theta, 10000.0);
  EXPECT_FALSE(config->attention_bias);
  EXPECT_FALSE(config->tie_word_embeddings);
  EXPECT_TRUE(config->bos_token_ids.empty());
  EXPECT_TRUE(config->eos_token_ids.empty());
  EXPECT_FALSE(config->attention.share_levels);
  EXPECT_FALSE(config->attention.level_bias);
  EXPECT_EQ(config->attention.hierarchy.sink_tokens, 0);
  EXPECT_EQ(config->attention.far_positions, kernels::FarPositions::kCenter);
}

TEST(ModelConfigTest, LearnedPositionsEndTheSequence) {
  json object = Valid();
  object["position_embedding"] = "learned";
  object["fma"].erase("far_positions");
  const auto config = ParseModelConfig(object.dump(), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->MaxSequenceLength(), 128);
}

TEST(ModelConfigTest, HeadsNeedNotFillTheHiddenSize) {
  json object = Valid();
  object["hidden_size"] = 50;
  EXPECT_TRUE(ParseModelConfig(object.dump(), "config.json").ok());
}

TEST(ModelConfigTest, ReadsTheKeysOfPretrainedDecoders) {
  json object = Valid();
  object.update({{"qk_norm", true},
                 {"rope_factors", {1, 1.5, 4, 8}},
                 {"rope_attention_factor", 1.25},
                 {"layers_without_rope", {1}}});
  object["fma"].erase("far_positions");
  object["fma"]["max_distance"] = 40;
  const auto config = ParseModelConfig(object.dump(), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->qk_norm);
  EXPECT_EQ(config->rope_factors, std::vector<double>({1, 1.5, 4, 8}));
  EXPECT_EQ(config->attention.rope_attention_factor, 1.25);
  EXPECT_EQ(config->AttentionOf(0), config->attention);
  const kernels::AttentionSpec unrotated = config->AttentionOf(1);
  EXPECT_EQ(unrotated.positions, kernels::PositionEmbedding::kNone);
  EXPECT_EQ(unrotated.rope_attention_factor, 1);
  EXPECT_EQ(unrotated.max_distance, 0);
  const std::string written = testing::ConfigJson(*config);
  const auto again = ParseModelConfig(written, "config.json");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(testing::ConfigJson(*again), written);
}

TEST(ModelConfigTest, WithoutRopeItsKeysMayBeOff) {
  json object = Valid();
  object["position_embedding"] = "learned";
  object["fma"].erase("far_positions");
  object.update({{"rope_factors", nullptr},
                 {"rope_attention_factor", 1.0},
                 {"layers_without_rope", json::array()}});
  EXPECT_TRUE(ParseModelConfig(object.dump(), "c").ok());
  json wrong = object;
  wrong["rope_factors"] = {1, 1, 1, 1};
  ExpectRefusal(ParseModelConfig(wrong.dump(), "c").status(),
                {"\"rope_factors\" is [1,1,1,1]", "null unless", "\"rope\""});
  wrong = object;
  wrong["rope_attention_factor"] = 1.5;
  ExpectRefusal(ParseModelConfig(wrong.dump(), "c").status(),
                {"\"rope_attention_factor\" is 1.5", "1 unless"});
  wrong = object;
  wrong["layers_without_rope"] = {0};
  ExpectRefusal(ParseModelConfig(wrong.dump(), "c").status(),
                {"\"layers_without_rope\" is [0]", "[] unless"});
}

TEST(ModelConfigTest, KeysOfOtherModelsMaySayThatTheyDoNothing) {
  json object = Valid();
  object["rope_scaling"] = nullptr;
  object["use_sliding_window"] = false;
  object["torch_dtype"] = "bfloat16";
  const auto config = ParseModelConfig(object.dump(), "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
}

TEST(ModelConfigTest, WhatOtherModelsHaveMayBeOff) {
  json object = Valid();
  object["fma"].update(
      {{"causal", true}, {"max_distance", 0}, {"open_units", 0}, {"query_downsampling", false}});
  const auto config = ParseModelConfig(object.dump(), "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
}

json ValidSelector() {
  json object = Valid();
  object["fma"] = {{"group_size", 10},         {"rank", 7},
                   {"num_levels", 4},          {"downsampling", "select"},
                   {"scale_far_field", false}, {"padding", "masked"},
                   {"sink_tokens", 3}};
  return object;
}

TEST(ModelConfigTest, ReadsSelectedTokensWithTheirDefaults) {
  const auto config = ParseModelConfig(ValidSelector().dump(), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  const kernels::AttentionSpec& spec = config->attention;
  EXPECT_EQ(spec.downsampling, kernels::Downsampling::kSelect);
  EXPECT_EQ(spec.hierarchy.rank, 7);
  EXPECT_EQ(spec.far_positions, kernels::FarPositions::kOwn);
  EXPECT_EQ(spec.select_lag, 2);
  EXPECT_EQ(spec.select_novel, 3);
  EXPECT_EQ(spec.max_distance, 0);
  EXPECT_EQ(spec.open_units, 0);
}

TEST(ModelConfigTest, ReadsEveryKeyOfSelectedTokens) {
  json object = ValidSelector();
  object["fma"].update({{"far_positions", "own"},
                        {"select_lag", 19},
                        {"select_novel", 0},
                        {"max_distance", 40},
                        {"open_units", 65536},
                        {"open_size", 5}});
  auto config = ParseModelConfig(object.dump(), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->attention.select_lag, 19);
  EXPECT_EQ(config->attention.select_novel, 0);
  EXPECT_EQ(config->attention.max_distance, 40);
  EXPECT_EQ(config->attention.open_units, 65536);
  EXPECT_EQ(config->attention.open_size, 5);
  object["fma"]["max_distance"] = (1 << 24) + 1;
  ExpectRefusal(ParseModelConfig(object.dump(), "c").status(),
                {"\"fma.max_distance\" is 16777217", "0 to 16777216 with \"fma.open_units\""});
  object["fma"].erase("max_distance");
  object["fma"]["far_positions"] = "none";
  config = ParseModelConfig(object.dump(), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->attention.far_positions, kernels::FarPositions::kNone);
}

TEST(ModelConfigTest, SelectedTokensNeedNoRope) {
  json object = ValidSelector();
  object["position_embedding"] = "learned";
  const auto config = ParseModelConfig(object.dump(), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(config->attention.FarIsRotated());
}

TEST(ModelConfigTest, LearnedSummariesMayHaveAMaxDistance) {
  json object = Valid();
  object["fma"].erase("far_positions");
  object["fma"]["max_distance"] = 32;
  const auto config = ParseModelConfig(object.dump(), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->attention.max_distance, 32);
}

TEST(ModelConfigTest, BytesTokenizer) {
  json object = Valid();
  object["tokenizer"] = "bytes";
  const auto config = ParseModelConfig(object.dump(), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->tokenizer, TokenizerKind::kBytes);
}

TEST(ModelConfigTest, SurvivesTheRoundTripOfTheTestSupport) {
  const auto config = ParseModelConfig(Valid().dump(), "config.json");
  ASSERT_TRUE(config.ok());
  const std::string written = testing::ConfigJson(*config);
  const auto again = ParseModelConfig(written, "config.json");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(testing::ConfigJson(*again), written);
}

struct BadConfig {
  const char* name;
  const char* pointer;  ///< JSON pointer of the key to set
  const char* value;    ///< what to set; null pointer: remove the key
  std::vector<std::string> message;
};

void ExpectRefused(json object, const BadConfig& bad) {
  const json::json_pointer pointer(bad.pointer);
  if (bad.value == nullptr) {
    object[pointer.parent_pointer()].erase(pointer.back());
  } else {
    object[pointer] = json::parse(bad.value);
  }
  std::vector<std::string> parts = bad.message;
  parts.emplace_back("some/config.json: ");
  parts.emplace_back("allowed: ");
  ExpectRefusal(ParseModelConfig(object.dump(), "some/config.json").status(), parts);
}

class BadConfigTest : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigTest, IsRefused) { ExpectRefused(Valid(), GetParam()); }

INSTANTIATE_TEST_SUITE_P(
    Table, BadConfigTest,
    ::testing::ValuesIn(std::vector<BadConfig>{
        {"ModelType", "/model_type", "\"llama\"", {"\"model_type\" is \"llama\"", "\"fma\""}},
        {"NoModelType", "/model_type", nullptr, {"\"model_type\" is missing"}},
        {"Architectures", "/architectures", "[\"X\"]", {"\"architectures\"", "FmaForCausalLM"}},
        {"ArchitecturesText", "/architectures", "\"FmaForCausalLM\"", {"\"architectures\""}},
        {"NoVocab", "/vocab_size", nullptr, {"\"vocab_size\" is missing", "1 to 16777216"}},
        {"NullVocab", "/vocab_size", "null", {"\"vocab_size\" is null"}},
        {"ZeroVocab", "/vocab_size", "0", {"\"vocab_size\" is 0", "1 to 16777216"}},
        {"BigVocab", "/vocab_size", "16777217", {"\"vocab_size\" is 16777217"}},
        {"FloatVocab", "/vocab_size", "300.0", {"\"vocab_size\" is 300.0"}},
        {"TextVocab", "/vocab_size", "\"300\"", {"\"vocab_size\" is \"300\""}},
        {"NegativeHidden", "/hidden_size", "-48", {"\"hidden_size\" is -48", "1 to 65536"}},
        {"Huge", "/hidden_size", "18446744073709551615", {"\"hidden_size\" is 1844"}},
        {"Intermediate", "/intermediate_size", "1048577", {"1 to 1048576"}},
        {"Layers", "/num_hidden_layers", "1025", {"\"num_hidden_layers\" is 1025", "1 to 1024"}},
        {"Heads", "/num_attention_heads", "0", {"\"num_attention_heads\" is 0"}},
        {"KvHeads", "/num_key_value_heads", "4", {"is 4", "divisor", "(6)"}},
        {"KvHeadsAbove", "/num_key_value_heads", "12", {"is 12", "divisor", "(6)"}},
        {"OddHead", "/head_dim", "7", {"\"head_dim\" is 7", "even", "rope"}},
        {"BigHead", "/head_dim", "1026", {"\"head_dim\" is 1026", "1 to 1024"}},
        {"MaxPositions", "/max_position_embeddings", "0", {"\"max_position_embeddings\" is 0"}},
        {"Position", "/position_embedding", "\"alibi\"", {"\"learned\", \"rope\", \"none\""}},
        {"Theta", "/rope_theta", "0", {"\"rope_theta\" is 0", "finite number above 0"}},
        {"ThetaText", "/rope_theta", "\"NaN\"", {"\"rope_theta\" is \"NaN\""}},
        {"Norm", "/norm", "\"batchnorm\"", {"\"layernorm\", \"rmsnorm\""}},
        {"NormEps", "/norm_eps", "-1e-5", {"\"norm_eps\" is -1e-05"}},
        {"TinyNormEps", "/norm_eps", "1e-60", {"\"norm_eps\" is 1e-60", "float32"}},
        {"HugeNormEps", "/norm_eps", "1e60", {"\"norm_eps\" is 1e+60", "float32"}},
        {"NoNormEps", "/norm_eps", nullptr, {"\"norm_eps\" is missing"}},
        {"Mlp", "/mlp", "\"relu\"", {"\"gelu\", \"gelu_tanh\", \"swiglu\""}},
        {"MlpNumber", "/mlp", "3", {"\"mlp\" is 3"}},
        {"Bias", "/attention_bias", "1", {"\"attention_bias\" is 1", "true or false"}},
        {"Bos", "/bos_token_id", "300", {"\"bos_token_id\" is 300", "0 to 299"}},
        {"NegativeBos", "/bos_token_id", "-1", {"\"bos_token_id\" is -1"}},
        {"Eos", "/eos_token_id", "[1, 300]", {"\"eos_token_id\" is [1,300]", "0 to 299"}},
        {"EosNested", "/eos_token_id", "[[1]]", {"\"eos_token_id\" is [[1]]"}},
        {"EosNull", "/eos_token_id", "[null]", {"\"eos_token_id\" is [null]"}},
        {"Tokenizer", "/tokenizer", "\"tiktoken\"", {"\"tokenizer\" is \"tiktoken\"", "bytes"}},
        {"RopeScaling", "/rope_scaling", R"({"type":"yarn"})", {"\"rope_scaling\" is {", "null"}},
        {"SlidingWindow", "/sliding_window", "4096", {"\"sliding_window\" is 4096", "false"}},
        {"QkNorm", "/qk_norm", "1", {"\"qk_norm\" is 1", "true or false"}},
        {"UnropedLayer",
         "/layers_without_rope",
         "[2]",
         {"\"layers_without_rope\" is [2]", "0 to 1"}},
        {"UnropedTwice", "/layers_without_rope", "[0, 0]", {"is [0,0]", "ascending"}},
        {"UnropedBack", "/layers_without_rope", "[1, 0]", {"is [1,0]", "ascending"}},
        {"UnropedBelow", "/layers_without_rope", "[-1]", {"is [-1]", "0 to 1"}},
        {"UnropedFraction", "/layers_without_rope", "[0.5]", {"is [0.5]", "integers"}},
        {"UnropedNumber", "/layers_without_rope", "1", {"\"layers_without_rope\" is 1", "a list"}},
        {"UnropedMany", "/layers_without_rope", "[0, 1, 2]", {"is [0,1,2]", "0 to 1"}},
        {"Factors", "/rope_factors", "[2.0]", {"\"rope_factors\" is [2.0]", "a list of 4 finite"}},
        {"FactorsMany", "/rope_factors", "[1, 1, 1, 1, 1]", {"is [1,1,1,1,1]", "a list of 4"}},
        {"FactorsNone", "/rope_factors", "[]", {"\"rope_factors\" is []", "a list of 4"}},
        {"FactorZero", "/rope_factors", "[1, 1, 0, 1]", {"is [1,1,0,1]", "above 0"}},
        {"FactorText", "/rope_factors", "[1, 1, \"1\", 1]", {"a list of 4 finite numbers"}},
        {"FactorNull", "/rope_factors", "[1, 1, null, 1]", {"a list of 4 finite numbers"}},
        {"FactorsNumber", "/rope_factors", "2", {"\"rope_factors\" is 2", "a list of 4"}},
        {"RopeAttention", "/rope_attention_factor", "0", {"\"rope_attention_factor\" is 0"}},
        {"RopeSquare", "/rope_attention_factor", "1e30", {"is 1e+30", "square", "float32"}},
        {"TinyRopeSquare", "/rope_attention_factor", "1e-30", {"is 1e-30", "square", "float32"}},
        {"Softcap", "/final_logit_softcapping", "30.0", {"\"final_logit_softcapping\" is 30.0"}},
        {"NoFma", "/fma", nullptr, {"\"fma\" is missing", "an object"}},
        {"FmaText", "/fma", "\"x\"", {"\"fma\" is \"x\"", "an object"}},
        {"GroupSize", "/fma/group_size", "4097", {"\"fma.group_size\" is 4097", "1 to 4096"}},
        {"Rank", "/fma/rank", "3", {"\"fma.rank\" is 3", "divisor of \"fma.group_size\" (8)"}},
        {"ZeroRank", "/fma/rank", "0", {"\"fma.rank\" is 0"}},
        {"RankAbove", "/fma/rank", "16", {"\"fma.rank\" is 16", "divisor"}},
        {"Levels", "/fma/num_levels", "41", {"\"fma.num_levels\" is 41", "1 to 40"}},
        {"NoLevels", "/fma/num_levels", nullptr, {"\"fma.num_levels\" is missing"}},
        {"Downsampling", "/fma/downsampling", "\"max\"", {"\"fma.downsampling\" is \"max\""}},
        {"Share", "/fma/downsampling", "\"conv\"", {"\"fma.share_levels\"", "hierarchical"}},
        {"NoScale", "/fma/scale_far_field", nullptr, {"\"fma.scale_far_field\" is missing"}},
        {"NoPadding", "/fma/padding", nullptr, {"\"fma.padding\" is missing"}},
        {"Padding", "/fma/padding", "\"left\"", {"\"masked\", \"zero_keys\""}},
        {"Sinks", "/fma/sink_tokens", "9", {"\"fma.sink_tokens\" is 9", "0 to 8"}},
        {"FarPositions", "/fma/far_positions", "\"left\"", {"\"center\", \"none\""}},
        {"FarNoRope", "/position_embedding", "\"none\"", {"\"fma.far_positions\"", "rope"}},
        {"AsksByShare", "/fma/query_downsampling", "true", {"is true", "unless", "fma.causal"}},
        {"CausalText", "/fma/causal", "\"no\"", {"\"fma.causal\" is \"no\"", "true or false"}},
        {"Distance", "/fma/max_distance", "32", {"\"fma.max_distance\" is 32", "not \"none\""}},
        {"ShortDistance", "/fma/max_distance", "31", {"is 31", "0, or 32 (4 times", "and more"}},
        {"NegativeDistance", "/fma/max_distance", "-1", {"\"fma.max_distance\" is -1"}},
        {"HugeDistance", "/fma/max_distance", "9007199254740993", {"0 to 9007199254740992"}},
        {"OwnSummaries", "/fma/far_positions", "\"own\"", {"is \"own\"", "unless", "select"}},
        {"Lag", "/fma/select_lag", "2", {"\"fma.select_lag\" is 2", "no such key unless"}},
        {"Novel", "/fma/select_novel", "1", {"\"fma.select_novel\" is 1", "no such key unless"}},
        {"OpenSize", "/fma/open_size", "32", {"\"fma.open_size\" is 32", "group_size\" (8)"}},
        {"OpenUnits", "/fma/open_units", "8", {"\"fma.open_units\" is 8", "0 unless", "select"}},
        {"UnknownKey", "/fma/rnak", "2", {"\"fma.rnak\" is no key", "rank"}},
    }),
    [](const auto& info) { return std::string(info.param.name); });

class BadSelectorTest : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadSelectorTest, IsRefused) { ExpectRefused(ValidSelector(), GetParam()); }

INSTANTIATE_TEST_SUITE_P(
    Table, BadSelectorTest,
    ::testing::ValuesIn(std::vector<BadConfig>{
        {"Rank", "/fma/rank", "8", {"\"fma.rank\" is 8", "1 to 7", "sink_tokens"}},
        {"NoRank", "/fma/rank", nullptr, {"\"fma.rank\" is missing"}},
        {"Sinks", "/fma/sink_tokens", "10", {"\"fma.sink_tokens\" is 10", "0 to 9"}},
        {"Scale", "/fma/scale_far_field", "true", {"is true", "false with", "select"}},
        {"Padding", "/fma/padding", "\"zero_keys\"", {"is \"zero_keys\"", "\"masked\" with"}},
        {"Share", "/fma/share_levels", "true", {"\"fma.share_levels\"", "hierarchical"}},
        {"Center", "/fma/far_positions", "\"center\"", {"\"center\"", "\"own\" or \"none\""}},
        {"Lag", "/fma/select_lag", "20", {"\"fma.select_lag\" is 20", "0 to 19"}},
        {"NegativeLag", "/fma/select_lag", "-1", {"\"fma.select_lag\" is -1"}},
        {"Novel", "/fma/select_novel", "8", {"\"fma.select_novel\" is 8", "0 to 7"}},
        {"Distance", "/fma/max_distance", "39", {"is 39", "0, or 40"}},
        {"OpenUnits", "/fma/open_units", "65537", {"\"fma.open_units\" is 65537", "0 to 65536"}},
        {"OpenSize", "/fma/open_size", "4", {"\"fma.open_size\" is 4", "divisor", "(10)"}},
        {"OpenSizeZero", "/fma/open_size", "0", {"\"fma.open_size\" is 0", "1 to 4096"}},
        {"OpenSizeAbsent", "/fma/open_units", "8", {"open_size\" is 32 where", "not divide"}},
    }),
    [](const auto& info) { return std::string(info.param.name); });

json ValidEncoder() {
  json object = Valid();
  object["architectures"] = {"FmaForMaskedLM"};
  object["mask_token_id"] = 299;
  object["fma"].update(
      {{"causal", false}, {"query_downsampling", true}, {"padding", "masked"}, {"sink_tokens", 0}});
  return object;
}

TEST(ModelConfigTest, ReadsEncoders) {
  const auto config = ParseModelConfig(ValidEncoder().dump(), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(config->attention.causal);
  EXPECT_TRUE(config->attention.query_downsampling);
  EXPECT_EQ(config->mask_token_id, 299);
  const auto read_again = ParseModelConfig(testing::ConfigJson(*config), "written");
  ASSERT_TRUE(read_again.ok()) << read_again.status();
  EXPECT_EQ(read_again->attention, config->attention);
  EXPECT_EQ(read_again->mask_token_id, 299);
}

TEST(ModelConfigTest, EncodersNeedNeitherMaskNorDownSampledQueries) {
  json object = ValidEncoder();
  object["fma"].erase("query_downsampling");
  object["mask_token_id"] = nullptr;
  object.erase("architectures");
  const auto config = ParseModelConfig(object.dump(), "config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(config->attention.query_downsampling);
  EXPECT_EQ(config->mask_token_id, std::nullopt);
}

class BadEncoderTest : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadEncoderTest, IsRefused) { ExpectRefused(ValidEncoder(), GetParam()); }

INSTANTIATE_TEST_SUITE_P(
    Table, BadEncoderTest,
    ::testing::ValuesIn(std::vector<BadConfig>{
        {"Decoder",
         "/architectures",
         "[\"FmaForCausalLM\"]",
         {"\"architectures\" is [\"FmaForCausalLM\"]", "\"FmaForMaskedLM\"", "is false"}},
        {"Causal", "/fma/causal", "true", {"\"fma.query_downsampling\" is true", "unless"}},
        {"Padding", "/fma/padding", "\"zero_keys\"", {"is \"zero_keys\"", "\"masked\" with"}},
        {"Sinks", "/fma/sink_tokens", "2", {"\"fma.sink_tokens\" is 2", "0 with", "fma.causal"}},
        {"Distance", "/fma/max_distance", "32", {"\"fma.max_distance\" is 32"}},
        {"Units", "/fma/open_units", "8", {"\"fma.open_units\" is 8"}},
        {"Mask", "/mask_token_id", "300", {"\"mask_token_id\" is 300", "0 to 299"}},
        {"MaskText", "/mask_token_id", "\"x\"", {"\"mask_token_id\" is \"x\""}},
    }),
    [](const auto& info) { return std::string(info.param.name); });

TEST(ModelConfigTest, EncodersSelectNoTokensAndHaveNoDistance) {
  json object = ValidSelector();
  object["architectures"] = {"FmaForMaskedLM"};
  object["fma"].update({{"causal", false}, {"sink_tokens", 0}});
  ExpectRefusal(ParseModelConfig(object.dump(), "c").status(),
                {"\"fma.downsampling\" is \"select\"", "all but \"select\" with", "fma.causal"});
  object = ValidEncoder();
  object["fma"].update({{"far_positions", "center"}, {"max_distance", 32}});
  ExpectRefusal(ParseModelConfig(object.dump(), "c").status(),
                {"\"fma.max_distance\" is 32", "0 with", "fma.causal"});
}

TEST(ModelConfigTest, ADecoderIsNoMaskedModel) {
  json object = Valid();
  object["architectures"] = {"FmaForMaskedLM"};
  ExpectRefusal(ParseModelConfig(object.dump(), "c").status(),
                {"\"architectures\" is [\"FmaForMaskedLM\"]", "\"FmaForCausalLM\"", "is true"});
}

TEST(ModelConfigTest, WithoutRopeSelectedTokensHaveNoPositions) {
  json object = ValidSelector();
  object["position_embedding"] = "none";
  object["fma"]["far_positions"] = "own";
  ExpectRefusal(ParseModelConfig(object.dump(), "c").status(),
                {"\"fma.far_positions\" is \"own\"", "no such key unless", "rope"});
  object["fma"].erase("far_positions");
  object["fma"]["max_distance"] = 40;
  ExpectRefusal(ParseModelConfig(object.dump(), "c").status(),
                {"\"fma.max_distance\" is 40", "0 unless", "rope"});
}

TEST(ModelConfigTest, RefusesAByteTokenizerWithFewerIdsThanBytes) {
  json object = Valid();
  object["tokenizer"] = "bytes";
  object["vocab_size"] = 255;
  object["eos_token_id"] = nullptr;
  ExpectRefusal(ParseModelConfig(object.dump(), "c").status(),
                {"c: \"vocab_size\" is 255; allowed: at least 256"});
}

TEST(ModelConfigTest, RefusesAHeadDimThatCannotBeDerived) {
  json object = Valid();
  object.erase("head_dim");
  object["hidden_size"] = 50;
  ExpectRefusal(ParseModelConfig(object.dump(), "c").status(),
                {"\"head_dim\" is missing", "(6)", "(50)"});
  object["hidden_size"] = 6150;
  ExpectRefusal(ParseModelConfig(object.dump(), "c").status(), {"\"head_dim\" is 1025"});
}

TEST(ModelConfigTest, RefusesEveryTruncation) {
  const std::string text = Valid().dump();
  for (size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(ParseModelConfig(text.substr(0, length), "c").ok()) << length;
  }
}

TEST(ModelConfigTest, RefusesNan) {
  std::string text = Valid().dump();
  text.replace(text.find("500000.0"), 8, "NaN");
  ExpectRefusal(ParseModelConfig(text, "c").status(), {"c: not valid JSON at byte"});
}

}  // namespace
}  // namespace fmaserver::model
