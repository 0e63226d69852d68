#include "server/openai/model_shape.h"

namespace fmaserver::openai {
namespace {

/// What counts where a request says nothing.
Json SamplingOf(const model::SamplingDefaults& defaults) {
  Json json;
  json["temperature"] = defaults.temperature;
  json["top_p"] = defaults.top_p;
  json["top_k"] = defaults.top_k;
  json["min_p"] = defaults.min_p;
  json["repetition_penalty"] = defaults.repetition_penalty;
  return json;
}

/// A sequence's state, and its archive if this server keeps one.
void AddCosts(const engine::Engine& engine, Json& json) {
  const engine::Model& model = engine.model();
  const engine::ArchivePool* archives = engine.archives().get();
  json["slot_bytes"] = model.slot_bytes();
  json["full_cache_bytes_per_token"] = model.full_cache_bytes_per_token();
  json["archive_bytes_per_token"] =
      archives == nullptr ? 0.0 : static_cast<double>(archives->BytesPer1000Tokens()) / 1000;
  json["open_units"] = archives == nullptr ? 0 : model.config().attention.open_units;
  json["open_size"] = model.config().attention.open_size;
}

Json ShapeOfEncoder(const model::ModelConfig& config) {
  const kernels::Hierarchy& hierarchy = config.attention.hierarchy;
  Json json;
  json["encoder"] = true;
  json["hidden_size"] = config.hidden_size;
  json["group_size"] = hierarchy.group_size;
  json["rank"] = hierarchy.rank;
  json["levels"] = hierarchy.num_levels;
  json["layers"] = config.num_layers;
  return json;
}

}  // namespace

Json ShapeOf(const models::ServedModel& served) {
  if (served.is_encoder()) return ShapeOfEncoder(served.encoder().config());
  const engine::Engine& engine = served.engine();
  const kernels::SlotLayout& layout = engine.model().layout();
  Json json;
  json["group_size"] = layout.hierarchy.group_size;
  json["rank"] = layout.hierarchy.rank;
  json["levels"] = layout.hierarchy.num_levels;
  json["sink_tokens"] = layout.hierarchy.sink_tokens;
  json["layers"] = layout.num_layers;
  json["kv_heads"] = layout.num_kv_heads;
  json["head_dim"] = layout.head_dim;
  json["cache_bytes_per_element"] = kernels::SizeOf(layout.type);
  AddCosts(engine, json);
  json["chat"] = engine.tokenizer() != nullptr && served.chat_template() != nullptr;
  json["sampling"] = SamplingOf(served.sampling_defaults());
  return json;
}

}  // namespace fmaserver::openai
