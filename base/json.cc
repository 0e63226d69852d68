#include "base/json.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "base/refusal.h"
#include "base/text.h"

namespace fmaserver {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 16;
constexpr int64_t kMaxValues = int64_t{1} << 22;
constexpr size_t kMaxExcerpt = 80;

/// What the parser says, which quotes the text as it is and as long as it is: as ASCII, and cut.
std::string Complaint(std::string_view said) {
  constexpr size_t kMaxBytes = 200;
  std::string complaint(said.substr(0, kMaxBytes));
  std::ranges::replace_if(
      complaint, [](char c) { return c < ' ' || c > '~'; }, '?');
  return complaint;
}

/// Reads a text without storing it and stops at the first thing that ParseJsonObject refuses.
class Inspector final : public nlohmann::json_sax<json> {
 public:
  bool null() override { return Count(); }
  bool boolean(bool) override { return Count(); }
  bool number_integer(number_integer_t) override { return Count(); }
  bool number_unsigned(number_unsigned_t) override { return Count(); }
  bool number_float(number_float_t, const string_t&) override { return Count(); }
  bool string(string_t&) override { return Count(); }
  bool binary(binary_t&) override { return Count(); }
  bool start_object(size_t) override { return OpenLevel(); }
  bool start_array(size_t) override { return OpenLevel(); }
  bool end_object() override { return CloseLevel(); }
  bool end_array() override { return CloseLevel(); }

  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    return Fail(Concat("duplicate key ", Quoted(name)));
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    return Fail(Concat("not valid JSON at byte ", position, ": ", Complaint(error.what())));
  }

  const std::string& problem() const { return problem_; }

 private:
  bool Fail(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }

  bool Count() {
    if (++values_ <= kMaxValues) return true;
    return Fail(Concat("more JSON values than the ", kMaxValues, " allowed"));
  }

  bool OpenLevel() {
    if (keys_.size() == kMaxDepth) {
      return Fail(Concat("JSON nested deeper than the ", kMaxDepth, " levels allowed"));
    }
    keys_.emplace_back();
    return Count();
  }

  bool CloseLevel() {
    keys_.pop_back();
    return true;
  }

  std::vector<absl::flat_hash_set<std::string>> keys_;
  int64_t values_ = 0;
  std::string problem_;
};

}  // namespace

absl::StatusOr<json> ParseJsonObject(std::string_view text, std::string_view origin) {
  Inspector inspector;
  if (!json::sax_parse(text.begin(), text.end(), &inspector)) {
    return absl::InvalidArgumentError(Concat(origin, ": ", inspector.problem()));
  }
  json value = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) {
    return Refusal(At(origin, "JSON"), Words{value.type_name()}, "an object");
  }
  return value;
}

std::optional<int64_t> AsInteger(const json& value) {
  if (value.is_number_unsigned()) {
    const uint64_t number = value.get<uint64_t>();
    if (number > uint64_t{std::numeric_limits<int64_t>::max()}) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  return std::nullopt;
}

std::string Excerpt(const json& value) {
  if (value.is_string()) return Quoted(value.get_ref<const std::string&>());
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
  if (text.size() > kMaxExcerpt) text = text.substr(0, kMaxExcerpt) + "...";
  return text;
}

}  // namespace fmaserver
