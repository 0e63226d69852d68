#include "model_loader/tokenizer_json/normalizer.h"

#include <array>
#include <optional>
#include <utility>

#include "base/refusal.h"
#include "base/text.h"
#include "model_loader/tokenizer_json/steps.h"

namespace fmaserver::model {
namespace {

constexpr std::array<std::pair<std::string_view, NormalForm>, 4> kForms = {
    {{"NFC", NormalForm::kNfc},
     {"NFD", NormalForm::kNfd},
     {"NFKC", NormalForm::kNfkc},
     {"NFKD", NormalForm::kNfkd}}};

// Compatibility forms make 33 bytes of 3; what is meant to be read by a model grows less.
constexpr size_t kMostGrowth = 16;
constexpr size_t kAlwaysAllowed = 4096;

/// A text that is being made of another one.
class Growing {
 public:
  explicit Growing(size_t size) : most_(size * kMostGrowth + kAlwaysAllowed) {}

  absl::Status Append(std::string_view part) {
    text_ += part;
    if (text_.size() <= most_) return absl::OkStatus();
    return Refusal("text", Words{"too long once it is normalized"},
                   Concat("at most ", most_, " bytes"), absl::StatusCode::kResourceExhausted);
  }

  std::string Take() { return std::move(text_); }

 private:
  const size_t most_;
  std::string text_;
};

absl::Status ReplaceAll(const Pattern& pattern, std::string_view content, std::string_view text,
                        const MatchMemory& memory, Growing& out) {
  size_t from = 0;
  while (from < text.size()) {
    const absl::StatusOr<std::optional<MatchRange>> match = pattern.Find(text, from, memory);
    if (!match.ok()) return match.status();
    if (!match->has_value()) break;
    absl::Status status = out.Append(text.substr(from, (*match)->begin - from));
    if (status.ok()) status = out.Append(content);
    if (!status.ok()) return status;
    from = (*match)->end;
  }
  return out.Append(text.substr(from));
}

}  // namespace

absl::StatusOr<Normalizer> Normalizer::Read(const nlohmann::json& file, std::string_view origin) {
  Normalizer normalizer;
  const absl::Status status =
      ForEachStep(file, {"normalizer", "normalizers", origin},
                  [&normalizer](std::string_view type, ConfigReader& reader) {
                    absl::StatusOr<Step> step = ReadStep(type, reader);
                    if (!step.ok()) return step.status();
                    normalizer.steps_.push_back(*std::move(step));
                    return absl::OkStatus();
                  });
  if (!status.ok()) return status;
  return normalizer;
}

absl::StatusOr<Normalizer::Step> Normalizer::ReadStep(std::string_view type, ConfigReader& reader) {
  for (const auto& [name, form] : kForms) {
    if (type == name) return Step(form);
  }
  if (type == "Prepend") return Step(Prepend{reader.Text("prepend")});
  if (type == "Replace") {
    absl::StatusOr<Pattern> pattern = ReadPattern(reader);
    if (!pattern.ok()) return pattern.status();
    return Step(Replace{*std::move(pattern), reader.Text("content")});
  }
  return UnknownStep(reader, type, "NFC, NFD, NFKC, NFKD, Prepend, Replace, Sequence");
}

absl::Status Normalizer::Apply(const MatchMemory& memory, std::string_view& text,
                               std::string& changed) const {
  const size_t original_size = text.size();
  for (const Step& step : steps_) {
    Growing next(original_size);
    absl::Status status;
    if (const auto* form = std::get_if<NormalForm>(&step)) {
      status = next.Append(ToNormalForm(text, *form));
    } else if (const auto* replace = std::get_if<Replace>(&step)) {
      status = ReplaceAll(replace->pattern, replace->content, text, memory, next);
    } else if (!text.empty()) {
      status = next.Append(std::get<Prepend>(step).text);
      if (status.ok()) status = next.Append(text);
    }
    if (!status.ok()) return status;
    changed = next.Take();
    text = changed;
  }
  return absl::OkStatus();
}

}  // namespace fmaserver::model
