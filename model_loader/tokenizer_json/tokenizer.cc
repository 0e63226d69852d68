#include "model_loader/tokenizer_json/tokenizer.h"

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/json.h"
#include "base/refusal.h"
#include "base/text.h"
#include "base/utf8.h"
#include "model_loader/config_reader.h"
#include "model_loader/tokenizer_json/added_tokens.h"
#include "model_loader/tokenizer_json/bpe.h"
#include "model_loader/tokenizer_json/decoder.h"
#include "model_loader/tokenizer_json/normalizer.h"
#include "model_loader/tokenizer_json/post_processor.h"
#include "model_loader/tokenizer_json/pre_tokenizer.h"

namespace fmaserver::model {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;

/// All that the file says.
struct Parts {
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  BpeModel model;
  std::vector<AddedToken> added;  ///< their new tokens are among those of `model`
  TokenDecoder decoder;
  TokenFrame frame;
};

/// The finders refer to added_, so the object stays where it was made.
class JsonTokenizer final : public Tokenizer {
 public:
  JsonTokenizer(Parts parts, Bpe bpe, int64_t vocab_size)
      : normalizer_(std::move(parts.normalizer)),
        pre_tokenizer_(std::move(parts.pre_tokenizer)),
        bpe_(std::move(bpe)),
        tokens_(std::move(parts.model.tokens)),
        added_(std::move(parts.added)),
        decoder_(std::move(parts.decoder)),
        frame_(std::move(parts.frame)),
        vocab_size_(static_cast<int32_t>(vocab_size)),
        is_control_(tokens_.size()),
        in_text_(added_, /*normalized=*/false),
        in_normalized_text_(added_, /*normalized=*/true) {
    for (const AddedToken& token : added_) {
      if (token.special) is_control_[token.id] = true;
    }
  }

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const ControlPlaces& control) const override {
    if (absl::Status status = ValidateUtf8(text); !status.ok()) return status;
    if (text.size() > kMaxTextBytes) {
      return Refusal("text", Words{Concat(text.size(), " bytes")},
                     Concat("at most ", kMaxTextBytes));
    }
    Encoding encoding(bpe_);
    const absl::Status status =
        in_text_.Split(text, control, [&](std::optional<int32_t> id, std::string_view part) {
          if (!id.has_value()) {
            const size_t begin = part.data() - text.data();
            const bool all =
                control.Of(begin, begin + part.size()) == ControlPlaces::Where::kInside;
            encoding.control = all ? ControlTokens::kAreFound : ControlTokens::kStayText;
            return EncodeText(part, begin == 0, encoding);
          }
          encoding.ids.push_back(*id);
          return absl::OkStatus();
        });
    if (!status.ok()) return status;
    return std::move(encoding.ids);
  }

  std::string TokenBytes(int32_t id) const override {
    return IsText(id) ? decoder_.BytesOf(tokens_[id]) : std::string();
  }

  std::string ControlText(int32_t id) const override {
    const bool is_control = static_cast<size_t>(id) < tokens_.size() && is_control_[id];
    return is_control ? tokens_[id] : std::string();
  }

  absl::StatusOr<std::string> Decode(std::span<const int32_t> ids) const override {
    std::string text;
    bool first = true;
    for (const int32_t id : ids) {
      if (id < 0 || id >= vocab_size_) {
        return Refusal("token id", id, FromTo(0, vocab_size_ - 1), absl::StatusCode::kOutOfRange);
      }
      if (!IsText(id)) continue;
      text += first ? decoder_.FirstBytesOf(tokens_[id]) : decoder_.BytesOf(tokens_[id]);
      first = false;
    }
    return ReplaceInvalidUtf8(decoder_.WithoutPrefix(text));
  }

  TokenFrame Frame() const override { return frame_; }
  int32_t VocabSize() const override { return vocab_size_; }
  std::string_view Kind() const override { return "tokenizer.json"; }

 private:
  /// A text that is being encoded.
  struct Encoding {
    explicit Encoding(const Bpe& bpe) : encoder(bpe) {}

    Bpe::Encoder encoder;
    /// In the part that is being encoded. A normalizer moves its characters, so a part of which
    /// only a piece may have control tokens has none that are spelled in normalized text.
    ControlTokens control = ControlTokens::kStayText;
    MatchMemory memory;
    std::vector<int32_t> ids;
  };

  /// Encodes what lies between tokens that are found in the text as it is.
  absl::Status EncodeText(std::string_view text, bool at_start, Encoding& encoding) const {
    std::string changed;
    absl::Status status = normalizer_.Apply(encoding.memory, text, changed);
    if (!status.ok()) return status;
    return in_normalized_text_.Split(
        text, encoding.control, [&](std::optional<int32_t> id, std::string_view part) {
          if (!id.has_value()) {
            return EncodeWords(part, at_start && part.data() == text.data(), encoding);
          }
          encoding.ids.push_back(*id);
          return absl::OkStatus();
        });
  }

  absl::Status EncodeWords(std::string_view text, bool at_start, Encoding& encoding) const {
    return pre_tokenizer_.Split(text, at_start, encoding.memory, [&](std::string_view word) {
      encoding.encoder.Append(word, encoding.ids);
      return absl::OkStatus();
    });
  }

  /// Ids from the number of tokens up to the vocabulary's size only pad the model's matrices.
  bool IsText(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < tokens_.size() && !is_control_[id];
  }

  const Normalizer normalizer_;
  const PreTokenizer pre_tokenizer_;
  const Bpe bpe_;
  const std::vector<std::string> tokens_;
  const std::vector<AddedToken> added_;
  const TokenDecoder decoder_;
  const TokenFrame frame_;
  const int32_t vocab_size_;
  std::vector<bool> is_control_;
  const AddedTokenFinder in_text_;
  const AddedTokenFinder in_normalized_text_;
};

absl::Status CheckKeys(const nlohmann::json& file, std::string_view origin) {
  ConfigReader reader(file, origin, "");
  for (const char* key : {"version", "truncation", "padding", "added_tokens", "normalizer",
                          "pre_tokenizer", "post_processor", "decoder", "model"}) {
    reader.Find(key);
  }
  reader.RefuseOtherKeys();
  return reader.status();
}

absl::StatusOr<Parts> ReadParts(const nlohmann::json& file, std::string_view origin,
                                int64_t vocab_size) {
  Parts parts;
  // The first refusal is kept, and what would follow from it is not read.
  absl::Status status = CheckKeys(file, origin);
  const auto keep = [&status](auto&& read, auto& part) {
    if (!status.ok()) return;
    auto value = read();
    if (value.ok()) {
      part = *std::move(value);
    } else {
      status = value.status();
    }
  };
  keep([&] { return Normalizer::Read(file, origin); }, parts.normalizer);
  keep([&] { return PreTokenizer::Read(file, origin); }, parts.pre_tokenizer);
  keep([&] { return ReadBpeModel(file, origin, vocab_size); }, parts.model);
  keep([&] { return TokenDecoder::Read(file, origin); }, parts.decoder);
  keep([&] { return ReadTokenFrame(file, origin, vocab_size); }, parts.frame);
  if (!status.ok()) return status;
  return parts;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeJsonTokenizer(std::string_view json,
                                                             std::string_view origin,
                                                             int64_t vocab_size) {
  const absl::StatusOr<nlohmann::json> file = ParseJsonObject(json, origin);
  if (!file.ok()) return file.status();
  absl::StatusOr<Parts> parts = ReadParts(*file, origin, vocab_size);
  if (!parts.ok()) return parts.status();
  absl::StatusOr<Bpe> bpe = Bpe::Create(parts->model, parts->pre_tokenizer.unit(), origin);
  if (!bpe.ok()) return bpe.status();
  absl::StatusOr<std::vector<AddedToken>> added =
      ReadAddedTokens(*file, origin, vocab_size, parts->normalizer, parts->model.tokens);
  if (!added.ok()) return added.status();
  parts->added = *std::move(added);
  return std::make_unique<JsonTokenizer>(*std::move(parts), *std::move(bpe), vocab_size);
}

}  // namespace fmaserver::model
