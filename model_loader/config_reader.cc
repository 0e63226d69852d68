#include "model_loader/config_reader.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::model {

using nlohmann::json;

namespace {

/// A finite number above 0.
std::optional<double> AsPositive(const json& value) {
  if (!value.is_number()) return std::nullopt;
  const auto number = value.get<double>();
  if (number > 0.0 && std::isfinite(number)) return number;
  return std::nullopt;
}

}  // namespace

ConfigReader::ConfigReader(const json& object, std::string_view origin, std::string_view prefix)
    : object_(object), origin_(origin), prefix_(prefix) {}

int64_t ConfigReader::Integer(std::string_view key, IntegerRange allowed,
                              std::optional<int64_t> fallback) {
  const std::string range = Concat("an integer from ", allowed.min, " to ", allowed.max);
  const json* value = FindOrRefuse(key, fallback.has_value(), range);
  if (value == nullptr) return fallback.value_or(allowed.min);
  const std::optional<int64_t> number = AsInteger(*value);
  if (number.has_value() && *number >= allowed.min && *number <= allowed.max) return *number;
  Refuse(key, Excerpt(*value), range);
  return allowed.min;
}

bool ConfigReader::Boolean(std::string_view key, std::optional<bool> fallback) {
  constexpr std::string_view kAllowed = "true or false";
  const json* value = FindOrRefuse(key, fallback.has_value(), kAllowed);
  if (value == nullptr) return fallback.value_or(false);
  if (value->is_boolean()) return value->get<bool>();
  Refuse(key, Excerpt(*value), kAllowed);
  return false;
}

float ConfigReader::Float(std::string_view key, NumberRange allowed, float fallback) {
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (number >= allowed.min && number <= allowed.max) return static_cast<float>(number);
  Refuse(key, Excerpt(*value), FromTo(allowed.min, allowed.max));
  return fallback;
}

double ConfigReader::PositiveNumber(std::string_view key, std::optional<double> fallback) {
  constexpr std::string_view kAllowed = "a finite number above 0";
  const json* value = FindOrRefuse(key, fallback.has_value(), kAllowed);
  if (value == nullptr) return fallback.value_or(1.0);
  const std::optional<double> number = AsPositive(*value);
  if (!number.has_value()) Refuse(key, Excerpt(*value), kAllowed);
  return number.value_or(1.0);
}

std::vector<double> ConfigReader::PositiveNumbers(std::string_view key, int64_t count) {
  const json* value = Find(key);
  if (value == nullptr) return {};
  std::vector<double> numbers;
  if (value->is_array() && std::ssize(*value) == count) {
    for (const json& item : *value) {
      if (const auto number = AsPositive(item)) numbers.push_back(*number);
    }
  }
  if (value->is_array() && std::ssize(numbers) == count) return numbers;
  Refuse(key, Excerpt(*value), Concat("a list of ", count, " finite numbers above 0"));
  return {};
}

std::vector<int32_t> ConfigReader::Ascending(std::string_view key, IntegerRange allowed) {
  const json* value = Find(key);
  if (value == nullptr) return {};
  std::vector<int32_t> numbers;
  bool good = value->is_array();
  for (const json& item : good ? *value : json::array()) {
    const std::optional<int64_t> number = AsInteger(item);
    const int64_t least = numbers.empty() ? allowed.min : int64_t{numbers.back()} + 1;
    good = good && number.has_value() && *number >= least && *number <= allowed.max;
    if (good) numbers.push_back(static_cast<int32_t>(*number));
  }
  if (good) return numbers;
  Refuse(key, Excerpt(*value),
         Concat("a list of ascending integers from ", allowed.min, " to ", allowed.max));
  return {};
}

std::string ConfigReader::Text(std::string_view key, std::optional<std::string> fallback) {
  constexpr std::string_view kAllowed = "a text";
  const json* value = FindOrRefuse(key, fallback.has_value(), kAllowed);
  if (value == nullptr) return std::move(fallback).value_or("");
  if (value->is_string()) return value->get<std::string>();
  Refuse(key, Excerpt(*value), kAllowed);
  return {};
}

std::vector<int32_t> ConfigReader::TokenIds(std::string_view key, int64_t vocab_size) {
  const json* value = Find(key);
  if (value == nullptr) return {};
  const json list = value->is_array() ? *value : json::array({*value});
  std::vector<int32_t> ids;
  for (const json& item : list) {
    const std::optional<int64_t> id = AsInteger(item);
    if (!id.has_value() || *id < 0 || *id >= vocab_size) {
      Refuse(key, Excerpt(*value),
             Concat("an id from 0 to ", vocab_size - 1, ", a list of ids, or null"));
      return {};
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

const json* ConfigReader::Find(std::string_view key) {
  asked_.emplace(key);
  const auto entry = object_.find(key);
  return entry == object_.end() || entry->is_null() ? nullptr : &*entry;
}

void ConfigReader::Refuse(std::string_view key, std::string_view found, std::string_view allowed) {
  status_.Update(Refusal(PlaceOf(key), Words{std::string(found)}, allowed));
}

std::string ConfigReader::PlaceOf(std::string_view key) const {
  return At(origin_, Concat("\"", prefix_, key, "\""));
}

void ConfigReader::RefuseOtherKeys() {
  for (const auto& [key, value] : object_.items()) {
    if (asked_.contains(key)) continue;
    std::vector<std::string> known(asked_.begin(), asked_.end());
    std::sort(known.begin(), known.end());
    status_.Update(Refusal(At(origin_, Quoted(Concat(prefix_, key))), Words{"no key"},
                           absl::StrJoin(known, ", ")));
  }
}

const json* ConfigReader::FindOrRefuse(std::string_view key, bool optional,
                                       std::string_view allowed) {
  const json* value = Find(key);
  if (value == nullptr && !optional) {
    Refuse(key, object_.contains(key) ? "null" : "missing", allowed);
  }
  return value;
}

std::optional<size_t> ConfigReader::IndexOf(std::string_view key,
                                            std::span<const std::string> names, bool optional) {
  const std::string allowed = Concat("\"", absl::StrJoin(names, "\", \""), "\"");
  const json* value = FindOrRefuse(key, optional, allowed);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) {
    const auto& text = value->get_ref<const std::string&>();
    const auto name = std::find(names.begin(), names.end(), text);
    if (name != names.end()) return static_cast<size_t>(name - names.begin());
  }
  Refuse(key, Excerpt(*value), allowed);
  return std::nullopt;
}

}  // namespace fmaserver::model
