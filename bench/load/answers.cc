#include "bench/load/answers.h"

#include <fstream>
#include <limits>

#include "base/file.h"
#include "base/json.h"
#include "base/refusal.h"

namespace fmaserver::bench {
namespace {

using nlohmann::json;

constexpr size_t kMaxAnswerBytes = size_t{1} << 30;

absl::Status CheckOptions(const json& found, const json& wanted, const std::string& file) {
  for (const auto& [name, value] : wanted.items()) {
    const json other = found.is_object() ? found.value(name, json()) : json();
    if (other == value) continue;
    return Refusal(At(file, "options." + name), Words{Excerpt(other)},
                   Concat(Excerpt(value), ", as in this run"));
  }
  return absl::OkStatus();
}

bool IsToken(const json& value) {
  const auto token = AsInteger(value);
  return token && *token >= 0 && *token <= std::numeric_limits<uint32_t>::max();
}

/// Of one conversation; false for a value that is none.
bool Read(const json& value, size_t turns, Answers& answers) {
  if (!value.is_array() || value.size() != turns) return false;
  for (const json& answer : value) {
    if (!answer.is_array() || !std::ranges::all_of(answer, IsToken)) return false;
    answers.push_back(answer.get<std::vector<uint32_t>>());
  }
  return true;
}

}  // namespace

absl::Status WriteAnswers(const std::string& file, const json& options,
                          const std::vector<Answers>& answers) {
  std::ofstream out(file);
  out << json{{"options", options}, {"answers", answers}}.dump() << '\n';
  if (out.flush()) return absl::OkStatus();
  return absl::UnavailableError(Concat("cannot write ", file));
}

absl::StatusOr<std::vector<Answers>> ReadAnswers(const std::string& file, const json& options,
                                                 size_t conversations, size_t turns) {
  const auto text = ReadWholeFile(file, kMaxAnswerBytes);
  if (!text.ok()) return text.status();
  const auto document = ParseJsonObject(*text, file);
  if (!document.ok()) return document.status();
  absl::Status status = CheckOptions(document->value("options", json()), options, file);
  if (!status.ok()) return status;
  const json found = document->value("answers", json());
  std::vector<Answers> answers(conversations);
  bool good = found.is_array() && found.size() == conversations;
  for (size_t i = 0; good && i < conversations; ++i) good = Read(found[i], turns, answers[i]);
  if (good) return answers;
  return Refusal(At(file, "answers"), Words{Excerpt(found)},
                 Concat(conversations, " arrays of ", turns, " arrays of token ids"));
}

}  // namespace fmaserver::bench
