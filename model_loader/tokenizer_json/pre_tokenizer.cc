#include "model_loader/tokenizer_json/pre_tokenizer.h"

#include <array>
#include <utility>

#include "absl/strings/str_replace.h"
#include "base/refusal.h"
#include "base/text.h"
#include "model_loader/tokenizer_json/steps.h"

namespace fmaserver::model {
namespace {

constexpr std::string_view kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kPunctuation = R"([!-\/:-@\[-`\{-~\p{P}])";
constexpr std::string_view kWords =
    R"([\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}]+|[^\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\s]+)";
constexpr std::string_view kMetaspace = "\xE2\x96\x81";

constexpr std::array<Choice<SplitBehavior>, 5> kBehaviors = {
    {{"Removed", SplitBehavior::kRemoved},
     {"Isolated", SplitBehavior::kIsolated},
     {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
     {"MergedWithNext", SplitBehavior::kMergedWithNext},
     {"Contiguous", SplitBehavior::kContiguous}}};

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::Read(const nlohmann::json& file,
                                                std::string_view origin) {
  PreTokenizer result;
  const absl::Status status = ForEachStep(file, {"pre_tokenizer", "pretokenizers", origin},
                                          [&result](std::string_view type, ConfigReader& reader) {
                                            return result.ReadStep(type, reader);
                                          });
  if (!status.ok()) return status;
  return result;
}

absl::Status PreTokenizer::ReadStep(std::string_view type, ConfigReader& reader) {
  if (unit_ == Unit::kByte) {
    reader.Refuse("type", Quoted(type), "no step behind ByteLevel");
    return reader.status();
  }
  if (type == "ByteLevel") return ReadByteLevel(reader);
  if (type == "Metaspace") return ReadMetaspace(reader);
  if (type == "Split") return ReadSplit(reader);
  if (type == "Digits") {
    const bool single = reader.Boolean("individual_digits", false);
    return AddSplit(R"(\p{N})", single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  if (type == "Punctuation") {
    return AddSplit(kPunctuation,
                    reader.OneOf<SplitBehavior>("behavior", kBehaviors, SplitBehavior::kIsolated));
  }
  if (type == "Whitespace") return AddSplit(kWords, SplitBehavior::kRemoved, /*invert=*/true);
  if (type == "WhitespaceSplit") return AddSplit(R"(\s)", SplitBehavior::kRemoved);
  return UnknownStep(reader, type,
                     "ByteLevel, Digits, Metaspace, Punctuation, Split, Whitespace, "
                     "WhitespaceSplit, Sequence");
}

absl::Status PreTokenizer::ReadByteLevel(ConfigReader& reader) {
  unit_ = Unit::kByte;
  reader.Find("trim_offsets");  // offsets are not told
  if (reader.Boolean("add_prefix_space", true)) steps_.emplace_back(SpaceRule{" "});
  if (!reader.Boolean("use_regex", true)) return absl::OkStatus();
  return AddSplit(kGpt2Words, SplitBehavior::kIsolated);
}

absl::Status PreTokenizer::ReadMetaspace(ConfigReader& reader) {
  constexpr std::array<Choice<PutFirst>, 3> kSchemes = {
      {{"always", PutFirst::kAlways}, {"first", PutFirst::kAtStart}, {"never", PutFirst::kNever}}};
  const std::string symbol = reader.Text("replacement", std::string(kMetaspace));
  reader.Find("str_rep");  // the replacement again, in old files
  const bool old_scheme = reader.Boolean("add_prefix_space", true);
  const PutFirst scheme = reader.OneOf<PutFirst>("prepend_scheme", kSchemes,
                                                 old_scheme ? PutFirst::kAlways : PutFirst::kNever);
  if (symbol.empty()) reader.Refuse("replacement", "empty", "a character");
  steps_.emplace_back(SpaceRule{symbol, scheme});
  if (!reader.Boolean("split", true) || symbol.empty()) return absl::OkStatus();
  absl::StatusOr<Pattern> pattern = Pattern::Exactly(symbol, reader.PlaceOf("replacement"));
  if (!pattern.ok()) return pattern.status();
  steps_.emplace_back(SplitRule{*std::move(pattern), SplitBehavior::kMergedWithNext});
  return absl::OkStatus();
}

absl::Status PreTokenizer::ReadSplit(ConfigReader& reader) {
  absl::StatusOr<Pattern> pattern = ReadPattern(reader);
  if (!pattern.ok()) return pattern.status();
  const auto behavior = reader.OneOf<SplitBehavior>("behavior", kBehaviors);
  steps_.emplace_back(SplitRule{*std::move(pattern), behavior, reader.Boolean("invert", false)});
  return absl::OkStatus();
}

absl::Status PreTokenizer::AddSplit(std::string_view expression, SplitBehavior behavior,
                                    bool invert) {
  absl::StatusOr<Pattern> pattern = Pattern::Compile(expression, "built in");
  if (!pattern.ok()) return pattern.status();
  steps_.emplace_back(SplitRule{*std::move(pattern), behavior, invert});
  return absl::OkStatus();
}

// NOLINTNEXTLINE(misc-no-recursion): as deep as there are steps, which are few.
absl::Status PreTokenizer::RunFrom(size_t index, Piece piece, const MatchMemory& memory,
                                   EmitPiece emit) const {
  if (piece.text.empty()) return absl::OkStatus();
  if (index == steps_.size()) return emit(piece.text);
  const auto* rule = std::get_if<SplitRule>(&steps_[index]);
  if (rule == nullptr) return RunSpaces(index, piece, memory, emit);
  if (index + 1 == steps_.size()) return Cut(*rule, piece.text, memory, emit);
  return Cut(*rule, piece.text, memory, [&](std::string_view part) {
    const bool at_start = piece.at_start && part.data() == piece.text.data();
    return RunFrom(index + 1, {part, at_start}, memory, emit);
  });
}

// NOLINTNEXTLINE(misc-no-recursion)
absl::Status PreTokenizer::RunSpaces(size_t index, Piece piece, const MatchMemory& memory,
                                     EmitPiece emit) const {
  const auto& rule = std::get<SpaceRule>(steps_[index]);
  std::string text = absl::StrReplaceAll(ToAbsl(piece.text), {{" ", rule.space}});
  const bool wanted = rule.put_first == PutFirst::kAlways ||
                      (rule.put_first == PutFirst::kAtStart && piece.at_start);
  if (wanted && !text.starts_with(rule.space)) text.insert(0, rule.space);
  return RunFrom(index + 1, {text, piece.at_start}, memory, emit);
}

}  // namespace fmaserver::model
