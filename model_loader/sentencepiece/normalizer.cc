#include "model_loader/sentencepiece/normalizer.h"

#include <utility>

#include "base/utf8.h"

namespace fmaserver::model {

absl::StatusOr<SentencePieceNormalizer> SentencePieceNormalizer::Create(
    const SentencePieceModel& model, const PrefixTable& user_symbols, std::string_view origin) {
  absl::StatusOr<CharsMap> rules = CharsMap::Parse(model.charsmap, origin);
  if (!rules.ok()) return rules.status();
  return SentencePieceNormalizer(model, user_symbols, *std::move(rules));
}

CharsMap::Match SentencePieceNormalizer::NormalizeFirst(std::string_view text) const {
  if (const size_t length = user_symbols_->LongestPrefix(text); length > 0) {
    return {length, text.substr(0, length)};
  }
  if (const std::optional<CharsMap::Match> match = rules_.Find(text)) return *match;
  // A rule of a damaged file may end inside a character.
  const Utf8Prefix next = NextUtf8(text);
  const bool is_character = next.kind == Utf8Prefix::Kind::kCharacter;
  return {next.length, is_character ? text.substr(0, next.length) : "\xEF\xBF\xBD"};
}

void SentencePieceNormalizer::Append(std::string_view normalized, std::string& out) const {
  for (const char byte : normalized) {
    if (byte == ' ') {
      out += Space();
    } else {
      out += byte;
    }
  }
}

std::string SentencePieceNormalizer::Normalize(std::string_view text) const {
  const bool squeeze = model_->remove_extra_whitespaces;
  while (squeeze && !text.empty()) {
    const CharsMap::Match first = NormalizeFirst(text);
    if (first.replacement != " ") break;
    text.remove_prefix(first.length);
  }
  if (text.empty()) return {};

  std::string out;
  out.reserve(text.size() + text.size() / 2);
  if (model_->add_dummy_prefix && !model_->whitespace_as_suffix) out += Space();
  bool after_space = squeeze;
  while (!text.empty()) {
    const CharsMap::Match first = NormalizeFirst(text);
    std::string_view replacement = first.replacement;
    while (after_space && replacement.starts_with(' ')) replacement.remove_prefix(1);
    Append(replacement, out);
    if (!replacement.empty()) after_space = squeeze && replacement.ends_with(' ');
    text.remove_prefix(first.length);
  }
  while (squeeze && out.ends_with(Space())) out.erase(out.size() - Space().size());
  if (model_->add_dummy_prefix && model_->whitespace_as_suffix) out += Space();
  return out;
}

}  // namespace fmaserver::model
