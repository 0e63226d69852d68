#include "model_loader/tokenizer_json/decoder.h"

#include <cstdint>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "base/json.h"
#include "base/refusal.h"
#include "base/text.h"
#include "model_loader/tokenizer_json/byte_alphabet.h"
#include "model_loader/tokenizer_json/steps.h"

namespace fmaserver::model {
namespace {

constexpr size_t kLongestReplacement = 16;
constexpr size_t kMostStripped = 1024;

/// The value of "<0xE2>".
std::optional<char> FallbackByte(std::string_view token) {
  uint32_t value = 0;
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
  if (!absl::SimpleHexAtoi(ToAbsl(token.substr(3, 2)), &value)) return std::nullopt;
  return static_cast<char>(value);
}

}  // namespace

absl::StatusOr<TokenDecoder> TokenDecoder::Read(const nlohmann::json& file,
                                                std::string_view origin) {
  TokenDecoder decoder;
  int steps = 0;
  const absl::Status status = ForEachStep(file, {"decoder", "decoders", origin},
                                          [&](std::string_view type, ConfigReader& reader) {
                                            ++steps;
                                            return decoder.ReadStep(type, reader);
                                          });
  if (!status.ok()) return status;
  if (steps == 0) {
    return Refusal(At(origin, "\"decoder\""), Words{"missing"},
                   "ByteLevel, Metaspace, or a Sequence of Replace, ByteFallback, Fuse, Strip");
  }
  return decoder;
}

absl::Status TokenDecoder::ReadStep(std::string_view type, ConfigReader& reader) {
  const bool is_first = !byte_level_ && !byte_fallback_ && !fused_ && replacements_.empty();
  if ((type == "ByteLevel" || type == "Metaspace") && is_first) {
    if (type == "Metaspace") return ReadMetaspace(reader);
    for (const char* key : {"add_prefix_space", "trim_offsets", "use_regex"}) reader.Find(key);
    byte_level_ = true;
    fused_ = true;
    return absl::OkStatus();
  }
  if (type == "Replace" && !byte_fallback_ && !fused_) return ReadReplace(reader);
  if (type == "ByteFallback" && !byte_fallback_ && !fused_) {
    byte_fallback_ = true;
    return absl::OkStatus();
  }
  if (type == "Fuse" && !byte_level_) {
    fused_ = true;
    return absl::OkStatus();
  }
  if (type == "Strip" && fused_ && !byte_level_ && most_stripped_ == 0) return ReadStrip(reader);
  return UnknownStep(reader, type,
                     "ByteLevel or Metaspace alone, or Replace, ByteFallback, Fuse, Strip in this "
                     "order");
}

absl::Status TokenDecoder::ReadMetaspace(ConfigReader& reader) {
  const std::string symbol = reader.Text("replacement", "\xE2\x96\x81");
  for (const char* key : {"str_rep", "split"}) reader.Find(key);
  const bool old_scheme = reader.Boolean("add_prefix_space", true);
  const std::string scheme = reader.Text("prepend_scheme", old_scheme ? "always" : "never");
  if (symbol.empty()) reader.Refuse("replacement", "empty", "a character");
  replacements_.emplace_back(symbol, " ");
  if (scheme != "never") first_loses_ = symbol;
  fused_ = true;
  return reader.status();
}

absl::Status TokenDecoder::ReadReplace(ConfigReader& reader) {
  const nlohmann::json* pattern = reader.Find("pattern");
  const bool is_text = pattern != nullptr && pattern->is_object() && pattern->size() == 1 &&
                       pattern->contains("String") && pattern->front().is_string() &&
                       !pattern->front().get_ref<const std::string&>().empty();
  const std::string content = reader.Text("content");
  if (!is_text) {
    reader.Refuse("pattern", pattern == nullptr ? "missing" : Excerpt(*pattern),
                  "{\"String\": a text that is not empty}");
  } else if (content.size() > kLongestReplacement) {
    reader.Refuse("content", Concat(content.size(), " bytes"),
                  Concat("at most ", kLongestReplacement));
  } else {
    replacements_.emplace_back(pattern->front().get<std::string>(), content);
  }
  return reader.status();
}

absl::Status TokenDecoder::ReadStrip(ConfigReader& reader) {
  strip_ = reader.Text("content");
  most_stripped_ = reader.Integer("start", {0, kMostStripped});
  reader.Integer("stop", {0, 0});
  if (strip_.empty()) reader.Refuse("content", "empty", "a character");
  return reader.status();
}

std::string TokenDecoder::BytesOf(std::string_view token) const {
  if (byte_level_) return BytesOfSpelling(token).value_or(std::string(token));
  std::string text(token);
  for (const auto& [from, to] : replacements_) text = absl::StrReplaceAll(text, {{from, to}});
  const std::optional<char> byte = byte_fallback_ ? FallbackByte(text) : std::nullopt;
  return byte.has_value() ? std::string(1, *byte) : text;
}

std::string TokenDecoder::FirstBytesOf(std::string_view token) const {
  if (first_loses_.empty()) return BytesOf(token);
  return BytesOf(absl::StrReplaceAll(ToAbsl(token), {{first_loses_, ""}}));
}

std::string_view TokenDecoder::WithoutPrefix(std::string_view text) const {
  for (size_t i = 0; i < most_stripped_ && text.starts_with(strip_); ++i) {
    text.remove_prefix(strip_.size());
  }
  return text;
}

}  // namespace fmaserver::model
