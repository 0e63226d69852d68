// What tokenizer.json does to a text before it is cut: the key "normalizer".
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model_loader/config_reader.h"
#include "model_loader/tokenizer_json/normal_form.h"
#include "model_loader/tokenizer_json/pattern.h"
#include "nlohmann/json.hpp"

namespace fmaserver::model {

/// Thread-safe. NFC, NFD, NFKC, NFKD, Prepend, Replace, and sequences of them.
class Normalizer {
 public:
  /// INVALID_ARGUMENT names `origin`, the key, what was found and what is allowed.
  static absl::StatusOr<Normalizer> Read(const nlohmann::json& file, std::string_view origin);

  /// The text is left in `text`, or made in `changed` and `text` made a view of it.
  /// RESOURCE_EXHAUSTED when it grows beyond measure, or a Pattern says so.
  absl::Status Apply(const MatchMemory& memory, std::string_view& text, std::string& changed) const;

 private:
  struct Prepend {
    std::string text;
  };
  struct Replace {
    Pattern pattern;
    std::string content;
  };
  using Step = std::variant<NormalForm, Prepend, Replace>;

  static absl::StatusOr<Step> ReadStep(std::string_view type, ConfigReader& reader);

  std::vector<Step> steps_;
};

}  // namespace fmaserver::model
