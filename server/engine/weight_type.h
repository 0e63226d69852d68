// What the large weights of a model are while it is served: the products' and the embeddings'.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace fmaserver::engine {

/// kAsStored: as the checkpoint has them. Otherwise those that are not integers in blocks already
/// are rounded when they are loaded.
enum class WeightType : uint8_t { kAsStored, kBF16, kInt8, kInt4 };

/// The name that flags use.
constexpr std::string_view NameOf(WeightType type) {
  switch (type) {
    case WeightType::kAsStored:
      return "as-is";
    case WeightType::kBF16:
      return "bf16";
    case WeightType::kInt8:
      return "int8";
    case WeightType::kInt4:
      return "int4";
  }
  return "";
}

constexpr std::optional<WeightType> WeightTypeNamed(std::string_view name) {
  using enum WeightType;
  for (const WeightType type : {kAsStored, kBF16, kInt8, kInt4}) {
    if (name == NameOf(type)) return type;
  }
  return std::nullopt;
}

}  // namespace fmaserver::engine
