#include "model_loader/tokenizer_json/bpe_model.h"

#include <array>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "base/json.h"
#include "base/refusal.h"
#include "base/text.h"
#include "model_loader/config_reader.h"

namespace fmaserver::model {
namespace {

using nlohmann::json;

class ModelReader {
 public:
  ModelReader(const json& object, std::string_view origin, int64_t vocab_size)
      : reader_(object, origin, "model."), vocab_size_(vocab_size) {}

  absl::StatusOr<BpeModel> Read() {
    ReadOptions();
    ReadVocabulary();
    if (reader_.status().ok()) ReadUnknown();
    if (reader_.status().ok()) ReadMerges();
    reader_.RefuseOtherKeys();
    if (!reader_.status().ok()) return reader_.status();
    return std::move(model_);
  }

 private:
  void ReadOptions() {
    constexpr std::array<Choice<bool>, 1> kTypes = {{{"BPE", true}}};
    reader_.OneOf<bool>("type", kTypes, true);
    model_.fuse_unknown = reader_.Boolean("fuse_unk", false);
    model_.byte_fallback = reader_.Boolean("byte_fallback", false);
    model_.ignore_merges = reader_.Boolean("ignore_merges", false);
    const json* dropout = reader_.Find("dropout");
    if (dropout != nullptr && *dropout != 0) {
      reader_.Refuse("dropout", Excerpt(*dropout), "null or 0");
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const std::string affix = reader_.Text(key, "");
      if (!affix.empty()) reader_.Refuse(key, Quoted(affix), "null or an empty text");
    }
  }

  void ReadVocabulary() {
    const json* vocab = reader_.Find("vocab");
    if (vocab == nullptr || !vocab->is_object()) {
      reader_.Refuse("vocab", vocab == nullptr ? "missing" : Excerpt(*vocab),
                     "an object: a token's text and its id");
      return;
    }
    for (const auto& [text, value] : vocab->items()) {
      if (!AddToken(text, value)) return;
    }
  }

  bool AddToken(const std::string& text, const json& value) {
    const std::string key = Concat("vocab: ", Quoted(text));
    const std::optional<int64_t> id = AsInteger(value);
    if (!id.has_value() || *id < 0 || *id >= vocab_size_) {
      reader_.Refuse(key, Excerpt(value),
                     Concat("an id below \"vocab_size\" of config.json (", vocab_size_, ")"));
    } else if (text.empty()) {
      reader_.Refuse(key, "a token", "tokens that are not empty");
    } else {
      if (static_cast<size_t>(*id) >= model_.tokens.size()) model_.tokens.resize(*id + 1);
      std::string& token = model_.tokens[*id];
      if (!token.empty()) reader_.Refuse(key, Concat(*id), Concat("not the id of ", Quoted(token)));
      token = text;
      ids_.emplace(text, static_cast<int32_t>(*id));
    }
    return reader_.status().ok();
  }

  void ReadUnknown() {
    const std::string unknown = reader_.Text("unk_token", "");
    if (unknown.empty()) return;
    const auto id = ids_.find(unknown);
    if (id == ids_.end()) {
      reader_.Refuse("unk_token", Quoted(unknown), "a token of \"model.vocab\", or null");
      return;
    }
    model_.unknown_id = id->second;
  }

  void ReadMerges() {
    const json* merges = reader_.Find("merges");
    if (merges == nullptr || !merges->is_array()) {
      reader_.Refuse("merges", merges == nullptr ? "missing" : Excerpt(*merges), "a list of pairs");
      return;
    }
    model_.merges.reserve(merges->size());
    for (const json& merge : *merges) {
      const std::optional<BpeModel::Merge> found = FindMerge(merge);
      if (!found.has_value()) {
        reader_.Refuse(Concat("merges[", model_.merges.size(), "]"), Excerpt(merge),
                       "two tokens of \"model.vocab\" that make a third one, as [\"a\", \"b\"] or "
                       "\"a b\"");
        return;
      }
      model_.merges.push_back(*found);
    }
  }

  std::optional<BpeModel::Merge> FindMerge(const json& merge) const {
    std::string_view left;
    std::string_view right;
    if (merge.is_string()) {
      const std::string_view pair = merge.get_ref<const std::string&>();
      const size_t space = pair.find(' ');
      if (space == pair.npos || pair.find(' ', space + 1) != pair.npos) return std::nullopt;
      left = pair.substr(0, space);
      right = pair.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      left = merge[0].get_ref<const std::string&>();
      right = merge[1].get_ref<const std::string&>();
    } else {
      return std::nullopt;
    }
    const auto first = ids_.find(left);
    const auto second = ids_.find(right);
    const auto product = ids_.find(Concat(left, right));
    if (first == ids_.end() || second == ids_.end() || product == ids_.end()) return std::nullopt;
    return BpeModel::Merge{first->second, second->second, product->second};
  }

  ConfigReader reader_;
  const int64_t vocab_size_;
  absl::flat_hash_map<std::string_view, int32_t> ids_;  // views of the JSON
  BpeModel model_;
};

}  // namespace

absl::StatusOr<BpeModel> ReadBpeModel(const json& file, std::string_view origin,
                                      int64_t vocab_size) {
  const auto model = file.find("model");
  if (model == file.end() || !model->is_object()) {
    return Refusal(At(origin, "\"model\""),
                   Words{model == file.end() ? "missing" : Excerpt(*model)}, "an object");
  }
  return ModelReader(*model, origin, vocab_size).Read();
}

}  // namespace fmaserver::model
