#include "model_loader/fma_config.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/text.h"

namespace fmaserver::model {
namespace {

constexpr int64_t kMaxGroupSize = 4096;
constexpr int64_t kMaxLevels = 40;
constexpr int64_t kMaxDistance = int64_t{1} << 53;
constexpr int64_t kMaxOpenUnits = 65'536;
// With opened units, because a slot then holds sketches of all that far.
constexpr int64_t kMaxOpenDistance = int64_t{1} << 24;

// Positions, group borders and the horizon are exact as int64 and as double for every allowed
// hierarchy.
static_assert(kernels::Hierarchy{kMaxGroupSize, 1, kMaxLevels, 0}.Horizon() <= int64_t{1} << 53);

constexpr std::array<Choice<kernels::Downsampling>, 5> kDownsamplings = {{
    {"grouped_conv", kernels::Downsampling::kGroupedConv},
    {"conv", kernels::Downsampling::kConv},
    {"average", kernels::Downsampling::kAverage},
    {"hierarchical", kernels::Downsampling::kHierarchical},
    {"select", kernels::Downsampling::kSelect},
}};
constexpr std::array<Choice<kernels::Padding>, 2> kPaddings = {{
    {"masked", kernels::Padding::kMasked},
    {"zero_keys", kernels::Padding::kZeroKeys},
}};
constexpr std::array<Choice<kernels::FarPositions>, 3> kFarPositions = {{
    {"center", kernels::FarPositions::kCenter},
    {"none", kernels::FarPositions::kNone},
    {"own", kernels::FarPositions::kOwn},
}};

constexpr std::string_view kWithoutSelect = " unless \"fma.downsampling\" is \"select\"";
constexpr std::string_view kWithSelect = " with \"fma.downsampling\": \"select\"";
constexpr std::string_view kInEncoders = " with \"fma.causal\": false";
constexpr std::string_view kWithoutRope = " unless \"position_embedding\" is \"rope\"";

/// Refuses the value that `key` has unless `allowed`. Without a problem so far what was read is
/// what is there.
void Require(ConfigReader& reader, bool allowed, std::string_view key, const std::string& what) {
  if (!allowed && reader.status().ok()) reader.Refuse(key, Excerpt(*reader.Find(key)), what);
}

/// Refuses `key` when it is there at all.
void RequireAbsent(ConfigReader& reader, std::string_view key, std::string_view why) {
  Require(reader, reader.Find(key) == nullptr, key, Concat("no such key", why));
}

void ReadHierarchy(ConfigReader& reader, bool selects, kernels::Hierarchy& hierarchy) {
  const int32_t m = hierarchy.group_size = reader.Integer32("group_size", {1, kMaxGroupSize});
  hierarchy.num_levels = reader.Integer32("num_levels", {1, kMaxLevels});
  hierarchy.sink_tokens = reader.Integer32("sink_tokens", {0, selects ? m - 1 : m}, 0);
  hierarchy.rank = reader.Integer32("rank", {1, kMaxGroupSize});
  if (selects) {
    const int32_t tokens = m - hierarchy.sink_tokens;
    Require(reader, hierarchy.rank <= tokens, "rank",
            Concat("1 to ", tokens, ", \"fma.group_size\" less \"fma.sink_tokens\",", kWithSelect));
  } else {
    Require(reader, m % hierarchy.rank == 0, "rank",
            Concat("a divisor of \"fma.group_size\" (", m, ")"));
  }
}

void ReadSummaries(ConfigReader& reader, kernels::AttentionSpec& spec) {
  spec.share_levels = reader.Boolean("share_levels", false);
  Require(reader, !spec.share_levels || spec.downsampling == kernels::Downsampling::kHierarchical,
          "share_levels", "false unless \"fma.downsampling\" is \"hierarchical\"");
  spec.scale_far_field = reader.Boolean("scale_far_field");
  Require(reader, !spec.scale_far_field || !spec.Selects(), "scale_far_field",
          Concat("false", kWithSelect));
  spec.level_bias = reader.Boolean("level_bias", false);
  spec.padding = reader.OneOf("padding", kPaddings);
  Require(reader, spec.padding == kernels::Padding::kMasked || !spec.Selects(), "padding",
          Concat("\"masked\"", kWithSelect));
}

void ReadFarPositions(ConfigReader& reader, kernels::AttentionSpec& spec) {
  using kernels::FarPositions;
  const bool rope = spec.positions == kernels::PositionEmbedding::kRope;
  if (spec.Selects() && !rope) return RequireAbsent(reader, "far_positions", kWithoutRope);
  spec.far_positions = reader.OneOf("far_positions", kFarPositions,
                                    spec.Selects() ? FarPositions::kOwn : FarPositions::kCenter);
  if (spec.Selects()) {
    Require(reader, spec.far_positions != FarPositions::kCenter, "far_positions",
            Concat("\"own\" or \"none\"", kWithSelect));
    return;
  }
  Require(reader, spec.far_positions != FarPositions::kOwn, "far_positions",
          Concat("\"center\" or \"none\"", kWithoutSelect));
  Require(reader, spec.far_positions == FarPositions::kCenter || rope, "far_positions",
          Concat("\"center\"", kWithoutRope));
}

void ReadSelection(ConfigReader& reader, kernels::AttentionSpec& spec) {
  if (!spec.Selects()) {
    RequireAbsent(reader, "select_lag", kWithoutSelect);
    RequireAbsent(reader, "select_novel", kWithoutSelect);
    return;
  }
  const kernels::Hierarchy& h = spec.hierarchy;
  spec.select_lag = reader.Integer32("select_lag", {0, 2 * h.group_size - 1}, h.group_size / 4);
  spec.select_novel = reader.Integer32("select_novel", {0, h.rank}, h.rank / 2);
}

void ReadMaxDistance(ConfigReader& reader, kernels::AttentionSpec& spec) {
  spec.max_distance = reader.Integer("max_distance", {0, kMaxDistance}, 0);
  if (spec.max_distance == 0) return;
  const int64_t least = 4 * int64_t{spec.hierarchy.group_size};
  Require(reader, spec.max_distance >= least, "max_distance",
          Concat("0, or ", least, " (4 times \"fma.group_size\") and more"));
  Require(reader, spec.FarIsRotated(), "max_distance",
          "0 unless \"position_embedding\" is \"rope\" and \"fma.far_positions\" is not \"none\"");
}

void ReadOpenedUnits(ConfigReader& reader, kernels::AttentionSpec& spec) {
  spec.open_units = reader.Integer32("open_units", {0, kMaxOpenUnits}, 0);
  Require(reader, !spec.Opens() || spec.Selects(), "open_units", Concat("0", kWithoutSelect));
  const int32_t m = spec.hierarchy.group_size;
  const bool given = reader.Find("open_size") != nullptr;
  const int32_t u = spec.open_size = reader.Integer32("open_size", {1, kMaxGroupSize}, 32);
  if (given || spec.Opens()) {
    Require(reader, m % u == 0, given ? "open_size" : "open_units",
            given
                ? Concat("a divisor of \"fma.group_size\" (", m, ")")
                : Concat("0, because \"fma.open_size\" is 32 where it is not given, and that does "
                         "not divide \"fma.group_size\" (",
                         m, ")"));
  }
  Require(reader, !spec.Opens() || spec.max_distance <= kMaxOpenDistance, "max_distance",
          Concat("0 to ", kMaxOpenDistance, " with \"fma.open_units\""));
}

/// Whether queries see both sides, and what goes with that.
void ReadDirections(ConfigReader& reader, kernels::AttentionSpec& spec) {
  spec.causal = reader.Boolean("causal", true);
  spec.query_downsampling = reader.Boolean("query_downsampling", false);
  if (spec.causal) {
    Require(reader, !spec.query_downsampling, "query_downsampling",
            "false unless \"fma.causal\" is false");
    return;
  }
  Require(reader, !spec.Selects(), "downsampling", Concat("all but \"select\"", kInEncoders));
  Require(reader, spec.padding == kernels::Padding::kMasked, "padding",
          Concat("\"masked\"", kInEncoders));
  Require(reader, spec.hierarchy.sink_tokens == 0, "sink_tokens", Concat("0", kInEncoders));
  Require(reader, spec.max_distance == 0, "max_distance", Concat("0", kInEncoders));
}

}  // namespace

void ReadFma(ConfigReader& reader, kernels::AttentionSpec& spec) {
  spec.downsampling = reader.OneOf("downsampling", kDownsamplings);
  ReadHierarchy(reader, spec.Selects(), spec.hierarchy);
  ReadSummaries(reader, spec);
  ReadFarPositions(reader, spec);
  ReadSelection(reader, spec);
  ReadMaxDistance(reader, spec);
  ReadOpenedUnits(reader, spec);
  ReadDirections(reader, spec);
  reader.RefuseOtherKeys();
}

}  // namespace fmaserver::model
