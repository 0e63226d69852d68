#include "model_loader/tokenizer_json/post_processor.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/text.h"
#include "model_loader/config_reader.h"
#include "model_loader/tokenizer_json/steps.h"

namespace fmaserver::model {
namespace {

using nlohmann::json;

constexpr size_t kMostTokens = 64;

/// A template's ids before its text, and behind it.
class TemplateReader {
 public:
  TemplateReader(ConfigReader& reader, int64_t vocab_size)
      : reader_(reader), vocab_size_(vocab_size) {}

  absl::Status Read() {
    reader_.Find("pair");
    tokens_ = reader_.Find("special_tokens");
    const json* pieces = reader_.Find("single");
    if (pieces == nullptr || !pieces->is_array()) {
      reader_.Refuse("single", pieces == nullptr ? "missing" : Excerpt(*pieces), "a list");
      return reader_.status();
    }
    for (const json& piece : *pieces) ReadPiece(piece);
    if (texts_ != 1) reader_.Refuse("single", Concat(texts_, " texts"), "1");
    return reader_.status();
  }

  TokenFrame& frame() { return frame_; }

 private:
  void ReadPiece(const json& piece) {
    if (piece.is_object() && piece.size() == 1 && piece.contains("Sequence")) {
      ++texts_;
      return;
    }
    const json* name = piece.is_object() && piece.size() == 1 && piece.contains("SpecialToken")
                           ? Member(piece.front(), "id")
                           : nullptr;
    if (name == nullptr || !name->is_string()) {
      reader_.Refuse("single", Excerpt(piece), "members with \"Sequence\" or \"SpecialToken\"");
      return;
    }
    AddToken(name->get_ref<const std::string&>());
  }

  void AddToken(const std::string& name) {
    const json* token = tokens_ == nullptr ? nullptr : Member(*tokens_, name);
    const json* ids = token == nullptr ? nullptr : Member(*token, "ids");
    std::vector<int32_t>& side = texts_ == 0 ? frame_.before : frame_.behind;
    const auto is_id = [this](const json& value) {
      const auto id = AsInteger(value);
      return id.has_value() && *id >= 0 && *id < vocab_size_;
    };
    if (ids == nullptr || !ids->is_array() || side.size() + ids->size() > kMostTokens ||
        !std::all_of(ids->begin(), ids->end(), is_id)) {
      reader_.Refuse(Concat("special_tokens.", name),
                     token == nullptr ? "missing" : Excerpt(*token),
                     Concat("\"ids\" below ", vocab_size_, ", not more than ", kMostTokens));
      return;
    }
    for (const json& id : *ids) side.push_back(id.get<int32_t>());
  }

  static const json* Member(const json& object, const std::string& key) {
    if (!object.is_object()) return nullptr;
    const auto member = object.find(key);
    return member == object.end() ? nullptr : &*member;
  }

  ConfigReader& reader_;
  const int64_t vocab_size_;
  const json* tokens_ = nullptr;
  int texts_ = 0;
  TokenFrame frame_;
};

}  // namespace

absl::StatusOr<TokenFrame> ReadTokenFrame(const json& file, std::string_view origin,
                                          int64_t vocab_size) {
  TokenFrame frame;
  const auto read_step = [&](std::string_view type, ConfigReader& reader) {
    if (type == "ByteLevel") {
      for (const char* key : {"add_prefix_space", "trim_offsets", "use_regex"}) reader.Find(key);
      return absl::OkStatus();
    }
    if (type != "TemplateProcessing") {
      return UnknownStep(reader, type, "ByteLevel, TemplateProcessing, Sequence");
    }
    TemplateReader outer(reader, vocab_size);
    absl::Status status = outer.Read();
    std::vector<int32_t>& before = outer.frame().before;
    before.insert(before.end(), frame.before.begin(), frame.before.end());
    frame.before = before;
    const std::vector<int32_t>& behind = outer.frame().behind;
    frame.behind.insert(frame.behind.end(), behind.begin(), behind.end());
    return status;
  };
  const absl::Status status =
      ForEachStep(file, {"post_processor", "processors", origin}, read_step);
  if (!status.ok()) return status;
  return frame;
}

}  // namespace fmaserver::model
