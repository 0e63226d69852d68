#include "model_loader/tokenizer_json/steps.h"

#include <string>

#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver::model {
namespace {

using nlohmann::json;

constexpr int kMostSteps = 32;

class Visitor {
 public:
  using Visit = absl::FunctionRef<absl::Status(std::string_view, ConfigReader&)>;

  Visitor(const StepsPlace& place, Visit visit) : place_(place), visit_(visit) {}

  // NOLINTNEXTLINE(misc-no-recursion): JSON that is nested deeper than 16 levels is not read.
  absl::Status Walk(const json& step, const std::string& path) {
    if (!step.is_object()) {
      return Refusal(At(place_.origin, Quoted(path)), Words{Excerpt(step)}, "an object or null");
    }
    ConfigReader reader(step, place_.origin, path + ".");
    const std::string type = reader.Text("type");
    if (reader.status().ok() && type == "Sequence") return WalkList(reader, path);
    if (++steps_ > kMostSteps) {
      reader.Refuse("type", Concat("step number ", steps_), Concat("at most ", kMostSteps));
    }
    if (!reader.status().ok()) return reader.status();
    if (absl::Status status = visit_(type, reader); !status.ok()) return status;
    reader.RefuseOtherKeys();
    return reader.status();
  }

 private:
  // NOLINTNEXTLINE(misc-no-recursion)
  absl::Status WalkList(ConfigReader& reader, const std::string& path) {
    const json* list = reader.Find(place_.list_key);
    if (list == nullptr || !list->is_array()) {
      reader.Refuse(place_.list_key, list == nullptr ? "missing" : Excerpt(*list), "a list");
    }
    reader.RefuseOtherKeys();
    if (!reader.status().ok()) return reader.status();
    for (size_t i = 0; i < list->size(); ++i) {
      const std::string member = Concat(path, ".", place_.list_key, "[", i, "]");
      if (absl::Status status = Walk((*list)[i], member); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  const StepsPlace& place_;
  const Visit visit_;
  int steps_ = 0;
};

}  // namespace

absl::Status ForEachStep(const json& file, const StepsPlace& place,
                         absl::FunctionRef<absl::Status(std::string_view, ConfigReader&)> visit) {
  const auto step = file.find(place.key);
  if (step == file.end() || step->is_null()) return absl::OkStatus();
  return Visitor(place, visit).Walk(*step, std::string(place.key));
}

absl::Status UnknownStep(ConfigReader& reader, std::string_view type, std::string_view allowed) {
  reader.Refuse("type", Quoted(type), allowed);
  return reader.status();
}

absl::StatusOr<Pattern> ReadPattern(ConfigReader& reader) {
  constexpr std::string_view kAllowed = "{\"String\": a text} or {\"Regex\": an expression}";
  const json* pattern = reader.Find("pattern");
  if (pattern == nullptr || !pattern->is_object() || pattern->size() != 1 ||
      !pattern->front().is_string()) {
    reader.Refuse("pattern", pattern == nullptr ? "missing" : Excerpt(*pattern), kAllowed);
    return reader.status();
  }
  const auto& text = pattern->front().get_ref<const std::string&>();
  const std::string where = reader.PlaceOf("pattern");
  if (pattern->contains("String")) return Pattern::Exactly(text, where);
  if (pattern->contains("Regex")) return Pattern::Compile(text, where);
  reader.Refuse("pattern", Excerpt(*pattern), kAllowed);
  return reader.status();
}

}  // namespace fmaserver::model
