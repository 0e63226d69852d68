// Writes a checkpoint with random weights, for measurements whose result does not depend on them:
// random_model --shape 1.3b --out DIR. The same flags give the same bytes everywhere.
#include <cstdio>
#include <map>
#include <string>

#include "CLI/CLI.hpp"
#include "bench/weights_in_blocks.h"
#include "tests/support/checkpoint_builder.h"

namespace fmaserver::bench {
namespace {

constexpr int32_t kByteMask = 256;

struct Dimensions {
  int32_t layers;
  int32_t hidden;
  int32_t intermediate;
  int32_t vocab;
  int32_t heads;
  int32_t kv_heads;
  int levels;
};

/// Swiglu, rope, hierarchical summaries with shared levels, m = 64, p = 4; it sees
/// 4 * 64 * 2^(levels-1) tokens.
model::ModelConfig Shape(const Dimensions& of) {
  model::ModelConfig config;
  config.vocab_size = of.vocab;
  config.hidden_size = of.hidden;
  config.intermediate_size = of.intermediate;
  config.num_layers = of.layers;
  config.max_position_embeddings = 1 << 24;
  config.tie_word_embeddings = true;
  kernels::AttentionSpec& attention = config.attention;
  attention.num_heads = of.heads;
  attention.num_kv_heads = of.kv_heads;
  attention.head_dim = of.hidden / of.heads;
  attention.hierarchy = {.group_size = 64, .rank = 4, .num_levels = of.levels, .sink_tokens = 4};
  attention.share_levels = true;
  attention.far_positions = kernels::FarPositions::kNone;
  return config;
}

/// "1b" are the dimensions of Llama 3.2 with a billion parameters.
const std::map<std::string, model::ModelConfig>& Shapes() {
  static const std::map<std::string, model::ModelConfig> shapes = {
      {"tiny", Shape({.layers = 2,
                      .hidden = 256,
                      .intermediate = 512,
                      .vocab = 512,
                      .heads = 2,
                      .kv_heads = 2,
                      .levels = 8})},
      {"1b", Shape({.layers = 16,
                    .hidden = 2048,
                    .intermediate = 8192,
                    .vocab = 128256,
                    .heads = 32,
                    .kv_heads = 8,
                    .levels = 13})},
      {"1.3b", Shape({.layers = 24,
                      .hidden = 2048,
                      .intermediate = 5504,
                      .vocab = 32768,
                      .heads = 16,
                      .kv_heads = 16,
                      .levels = 13})},
  };
  return shapes;
}

/// The same shape, with p of a group's own tokens in the place of summaries.
void SelectTokens(kernels::AttentionSpec& attention) {
  attention.downsampling = kernels::Downsampling::kSelect;
  attention.share_levels = false;
  attention.far_positions = kernels::FarPositions::kOwn;
  attention.select_lag = attention.hierarchy.group_size / 4;
  attention.select_novel = attention.hierarchy.rank / 2;
}

/// The same shape as an encoder of bytes, with levels for a million tokens and more.
void ReadBothSides(model::ModelConfig& config, bool by_share) {
  config.attention.causal = false;
  config.attention.query_downsampling = by_share;
  config.attention.padding = kernels::Padding::kMasked;
  config.attention.hierarchy.sink_tokens = 0;
  config.attention.hierarchy.num_levels = 13;
  config.tokenizer = model::TokenizerKind::kBytes;
  config.mask_token_id = kByteMask;
}

}  // namespace
}  // namespace fmaserver::bench

int main(int argc, char** argv) {
  std::string shape = "tiny";
  std::string out;
  int rank = 4;
  bool select = false;
  int open_units = 0;
  std::string encoder;
  bool int4 = false;
  CLI::App app("Writes a checkpoint of random bfloat16 weights.");
  app.add_option("--shape", shape, "Which model")
      ->check(CLI::IsMember(fmaserver::bench::Shapes()))
      ->capture_default_str();
  app.add_option("--rank", rank, "Vectors that stand for a group of 64 tokens")
      ->check(CLI::IsMember({1, 2, 4, 8, 16, 32}))
      ->capture_default_str();
  app.add_flag("--select", select, "Selected tokens in the place of learned summaries");
  app.add_option("--open-units", open_units, "With --select: units of 32 tokens that are opened")
      ->check(CLI::Range(0, 1024));
  app.add_option("--encoder", encoder,
                 "An encoder, whose queries ask by token, O(n log n), or by share, O(n)")
      ->check(CLI::IsMember({"token", "share"}));
  app.add_flag("--int4", int4, "Large weights in 4 bits, embeddings in 8");
  app.add_option("--out", out, "Folder")->required();
  CLI11_PARSE(app, argc, argv);
  fmaserver::model::ModelConfig config = fmaserver::bench::Shapes().at(shape);
  config.attention.hierarchy.rank = rank;
  if (select) {
    fmaserver::bench::SelectTokens(config.attention);
    config.attention.open_units = open_units;
  }
  if (!encoder.empty()) fmaserver::bench::ReadBothSides(config, encoder == "share");
  absl::Status status = fmaserver::testing::WriteRandomCheckpoint(
      config, 1, fmaserver::kernels::WeightFormat::kBF16, out);
  if (status.ok() && int4) status = fmaserver::bench::RoundToInt4(out);
  if (!status.ok())
    std::fprintf(stderr, "random_model: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
