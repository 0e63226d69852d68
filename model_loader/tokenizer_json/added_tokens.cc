#include "model_loader/tokenizer_json/added_tokens.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "base/json.h"
#include "base/refusal.h"
#include "base/text.h"
#include "model_loader/config_reader.h"
#include "model_loader/tokenizer_json/characters.h"

namespace fmaserver::model {
namespace {

using nlohmann::json;

using Where = ControlPlaces::Where;

constexpr size_t kLongestToken = 512;

class AddedTokenReader {
 public:
  AddedTokenReader(std::string_view origin, int64_t vocab_size, const Normalizer& normalizer,
                   std::vector<std::string>& tokens)
      : origin_(origin), vocab_size_(vocab_size), normalizer_(normalizer), tokens_(tokens) {
    for (size_t id = 0; id < tokens.size(); ++id) {
      if (!tokens[id].empty()) ids_.emplace(tokens[id], static_cast<int32_t>(id));
    }
  }

  absl::StatusOr<AddedToken> Read(const json& item, std::string_view path) {
    if (!item.is_object()) {
      return Refusal(At(origin_, Quoted(path)), Words{Excerpt(item)}, "an object");
    }
    ConfigReader reader(item, origin_, Concat(path, "."));
    AddedToken token;
    token.id = static_cast<int32_t>(reader.Integer("id", {0, vocab_size_ - 1}));
    token.content = reader.Text("content");
    token.single_word = reader.Boolean("single_word", false);
    token.lstrip = reader.Boolean("lstrip", false);
    token.rstrip = reader.Boolean("rstrip", false);
    token.special = reader.Boolean("special", false);
    token.normalized = reader.Boolean("normalized", !token.special);
    reader.RefuseOtherKeys();
    if (reader.status().ok()) CheckContent(token, reader);
    if (!reader.status().ok()) return reader.status();
    absl::Status status = Spell(token);
    if (!status.ok()) return status;
    return token;
  }

 private:
  /// Gives the token its place among the others.
  void CheckContent(const AddedToken& token, ConfigReader& reader) {
    if (token.content.empty() || token.content.size() > kLongestToken) {
      reader.Refuse("content", Concat(token.content.size(), " bytes"), FromTo(1UL, kLongestToken));
      return;
    }
    // A new token has the next id that is free, or the file means other ids than it says.
    const auto known = ids_.find(token.content);
    const auto id = known == ids_.end() ? static_cast<int64_t>(tokens_.size()) : known->second;
    if (token.id != id) {
      reader.Refuse("id", Concat(token.id), Concat(id, ", which ", Quoted(token.content), " has"));
    } else if (known == ids_.end()) {
      tokens_.push_back(token.content);
      ids_.emplace(token.content, token.id);
    }
  }

  absl::Status Spell(AddedToken& token) const {
    token.spelling = token.content;
    if (!token.normalized) return absl::OkStatus();
    std::string_view text = token.content;
    std::string changed;
    absl::Status status = normalizer_.Apply(MatchMemory(), text, changed);
    token.spelling = text;
    return status;
  }

  const std::string_view origin_;
  const int64_t vocab_size_;
  const Normalizer& normalizer_;
  std::vector<std::string>& tokens_;
  absl::flat_hash_map<std::string, int32_t> ids_;
};

}  // namespace

absl::StatusOr<std::vector<AddedToken>> ReadAddedTokens(const json& file, std::string_view origin,
                                                        int64_t vocab_size,
                                                        const Normalizer& normalizer,
                                                        std::vector<std::string>& tokens) {
  std::vector<AddedToken> added;
  const auto list = file.find("added_tokens");
  if (list == file.end() || list->is_null()) return added;
  if (!list->is_array()) {
    return Refusal(At(origin, "\"added_tokens\""), Words{Excerpt(*list)}, "a list");
  }
  AddedTokenReader reader(origin, vocab_size, normalizer, tokens);
  for (size_t i = 0; i < list->size(); ++i) {
    absl::StatusOr<AddedToken> token = reader.Read((*list)[i], Concat("added_tokens[", i, "]"));
    if (!token.ok()) return token.status();
    added.push_back(*std::move(token));
  }
  return added;
}

AddedTokenFinder::AddedTokenFinder(const std::vector<AddedToken>& tokens, bool normalized)
    : tokens_(tokens) {
  absl::flat_hash_set<std::string_view> seen;
  std::vector<PrefixTable::Entry> entries;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const AddedToken& token = tokens[i];
    if (token.normalized != normalized || token.spelling.empty()) continue;
    if (seen.insert(token.spelling).second) entries.emplace_back(token.spelling, i);
  }
  table_ = PrefixTable(std::move(entries));
}

absl::Status AddedTokenFinder::Split(std::string_view text, const ControlPlaces& control,
                                     Emit emit) const {
  size_t done = 0;
  for (size_t begin = 0; begin < text.size();) {
    const Found found = FindAt(text, begin, control);
    size_t first = begin;
    begin += found.length;
    if (found.token == nullptr || !IsWanted(*found.token, control, text, first, begin)) continue;
    size_t end = std::max(begin, done);  // white space up to `done` was taken by the token before
    if (found.token->lstrip && first > done) first -= SpaceAtEnd(text.substr(done, first - done));
    if (found.token->rstrip) end += SpaceAtStart(text.substr(end));
    absl::Status status;
    if (done < first) status = emit(std::nullopt, text.substr(done, first - done));
    if (status.ok()) status = emit(found.token->id, {});
    if (!status.ok()) return status;
    done = end;
  }
  return done < text.size() ? emit(std::nullopt, text.substr(done)) : absl::OkStatus();
}

AddedTokenFinder::Found AddedTokenFinder::FindAt(std::string_view text, size_t begin,
                                                 const ControlPlaces& control) const {
  Found found;
  table_.ForEachPrefix(text.substr(begin), [&](size_t length, int32_t index) {
    const AddedToken& token = tokens_[index];
    // Two who spell one together have spelled none, and hide none that is shorter.
    const bool across = token.special && control.Of(begin, begin + length) == Where::kAcross;
    if (!across) found = {&token, length};
  });
  return found;
}

bool AddedTokenFinder::IsWanted(const AddedToken& token, const ControlPlaces& control,
                                std::string_view text, size_t begin, size_t end) {
  if (token.special && control.Of(begin, end) != Where::kInside) return false;
  return !token.single_word ||
         !(EndsInWord(text.substr(0, begin)) || BeginsInWord(text.substr(end)));
}

}  // namespace fmaserver::model
