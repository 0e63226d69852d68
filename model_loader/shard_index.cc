#include "model_loader/shard_index.h"

#include "absl/status/status.h"
#include "base/json.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::model {
namespace {

using nlohmann::json;

/// No separator and no NUL, where the operating system would stop reading the name. Dots cannot
/// lead out of the folder, because "." and ".." do not end in ".safetensors".
bool IsPlainName(std::string_view name) {
  constexpr std::string_view kForbidden("/\\\0", 3);
  return name.ends_with(".safetensors") && name.find_first_of(kForbidden) == std::string_view::npos;
}

}  // namespace

absl::StatusOr<ShardIndex> ParseShardIndex(std::string_view text, std::string_view origin) {
  const absl::StatusOr<json> object = ParseJsonObject(text, origin);
  if (!object.ok()) return object.status();
  const auto map = object->find("weight_map");
  if (map == object->end() || !map->is_object() || map->empty()) {
    return Refusal(At(origin, "\"weight_map\""),
                   Words{map == object->end() ? "missing" : Excerpt(*map)},
                   "an object of tensor name to file name");
  }

  ShardIndex index;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !IsPlainName(file.get_ref<const std::string&>())) {
      return Refusal(At(origin, Concat("shard of tensor ", Quoted(tensor))), Words{Excerpt(file)},
                     "the name of a .safetensors file in the same folder");
    }
    index[file.get<std::string>()].insert(tensor);
  }
  return index;
}

}  // namespace fmaserver::model
