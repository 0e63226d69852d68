// Checked access to the keys of one JSON object of a checkpoint's files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "base/json.h"

namespace fmaserver::model {

struct IntegerRange {
  int64_t min = 0;
  int64_t max = 0;
};

struct NumberRange {
  double min = 0;
  double max = 0;
};

template <typename T>
struct Choice {
  std::string_view name;
  T value;
};

/// The first problem is kept in status(); after it the values mean nothing, but asking for them is
/// harmless. A key without a fallback is required; with one, an absent key or a null gives the
/// fallback.
class ConfigReader {
 public:
  /// `object` must outlive the reader. `prefix` stands before keys in messages ("fma.").
  ConfigReader(const nlohmann::json& object, std::string_view origin, std::string_view prefix);

  int64_t Integer(std::string_view key, IntegerRange allowed,
                  std::optional<int64_t> fallback = std::nullopt);
  int32_t Integer32(std::string_view key, IntegerRange allowed,
                    std::optional<int64_t> fallback = std::nullopt) {
    return static_cast<int32_t>(Integer(key, allowed, fallback));
  }
  bool Boolean(std::string_view key, std::optional<bool> fallback = std::nullopt);
  float Float(std::string_view key, NumberRange allowed, float fallback);
  /// A finite number above 0.
  double PositiveNumber(std::string_view key, std::optional<double> fallback = std::nullopt);
  /// As many such numbers; none when the key is absent.
  std::vector<double> PositiveNumbers(std::string_view key, int64_t count);
  /// A list of integers, each larger than the one before; empty when the key is absent.
  std::vector<int32_t> Ascending(std::string_view key, IntegerRange allowed);
  std::string Text(std::string_view key, std::optional<std::string> fallback = std::nullopt);
  /// An id below `vocab_size`, a list of such, or null.
  std::vector<int32_t> TokenIds(std::string_view key, int64_t vocab_size);

  template <typename T, size_t N>
  T OneOf(std::string_view key, const std::array<Choice<T>, N>& choices,
          std::optional<std::type_identity_t<T>> fallback = std::nullopt) {
    std::vector<std::string> names;
    names.reserve(choices.size());
    for (const Choice<T>& choice : choices) names.emplace_back(choice.name);
    const std::optional<size_t> index = IndexOf(key, names, fallback.has_value());
    return index.has_value() ? choices[*index].value : fallback.value_or(choices.front().value);
  }

  /// The value of `key` when it is there and not null.
  const nlohmann::json* Find(std::string_view key);

  /// Sets status() to "`origin`: `key` is `found`; allowed: `allowed`" if it is still OK.
  void Refuse(std::string_view key, std::string_view found, std::string_view allowed);

  /// Where `key` stands, for messages about what is inside of it.
  std::string PlaceOf(std::string_view key) const;

  /// Refuses keys that were never asked for.
  void RefuseOtherKeys();

  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json* FindOrRefuse(std::string_view key, bool optional, std::string_view allowed);
  std::optional<size_t> IndexOf(std::string_view key, std::span<const std::string> names,
                                bool optional);

  const nlohmann::json& object_;
  std::string origin_;
  std::string prefix_;
  absl::flat_hash_set<std::string> asked_;
  absl::Status status_;
};

}  // namespace fmaserver::model
