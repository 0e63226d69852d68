#include <array>
#include <numeric>

#include "base/utf8.h"
#include "model_loader/tokenizer_json/tokenizer.h"
#include "tests/fuzz/fuzz_target.h"

using fmaserver::Require;

namespace {

using fmaserver::model::ControlTokens;

constexpr int32_t kVocabSize = 1024;

constexpr std::array<std::string_view, 5> kTexts = {
    "", "Hello  world, 'll the end.\r\n <s>x</s> <think>", "aaaaaaaaaaaaaaaaab aab  \xE2\x96\x81",
    " caf\xC3\xA9 e\xCC\x81\xCC\xA3 \xEF\xAC\x81\xEF\xBC\xA1 \xF0\x9F\x98\x80\t1234 ",
    std::string_view("a\0b \xE4\xBD\xA0\xE5\xA5\xBD", 10)};

void RequireIds(const fmaserver::model::Tokenizer& tokenizer, std::string_view text,
                ControlTokens control) {
  const auto ids = tokenizer.Encode(text, control);
  if (!ids.ok()) {
    // A hostile expression may be too hard to match, and a hostile normalizer may know no end.
    Require(ids.status().code() == absl::StatusCode::kResourceExhausted);
    return;
  }
  for (const int32_t id : *ids) Require(id >= 0 && id < tokenizer.VocabSize());
  const auto decoded = tokenizer.Decode(*ids);
  Require(decoded.ok() && fmaserver::ValidateUtf8(*decoded).ok());
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto made = fmaserver::model::MakeJsonTokenizer(fmaserver::AsText(data, size),
                                                        "tokenizer.json", kVocabSize);
  if (!made.ok()) return 0;
  for (const std::string_view text : kTexts) {
    RequireIds(**made, text, ControlTokens::kStayText);
    RequireIds(**made, text, ControlTokens::kAreFound);
  }
  std::array<int32_t, kVocabSize> every_id;
  std::iota(every_id.begin(), every_id.end(), 0);
  Require((*made)->Decode(every_id).ok());
  return 0;
}
