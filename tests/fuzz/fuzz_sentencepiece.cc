#include <array>
#include <numeric>

#include "base/utf8.h"
#include "model_loader/sentencepiece/tokenizer.h"
#include "tests/fuzz/fuzz_target.h"

using fmaserver::Require;

namespace {

constexpr int32_t kVocabSize = 1024;

constexpr std::array<std::string_view, 4> kTexts = {
    "", "Hello  world, the end.\n", " caf\xC3\xA9 \xEF\xAC\x81\xEF\xBC\xA1 \xF0\x9F\x98\x80\t1234 ",
    std::string_view("a\0b \xE2\x96\x81x", 9)};

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto made = fmaserver::model::MakeSentencePieceTokenizer(fmaserver::AsText(data, size),
                                                                 "tokenizer.model", kVocabSize);
  if (!made.ok()) return 0;
  const fmaserver::model::Tokenizer& tokenizer = **made;
  for (const std::string_view text : kTexts) {
    const auto ids = tokenizer.Encode(text);
    Require(ids.ok());
    for (const int32_t id : *ids) Require(id >= 0 && id < tokenizer.VocabSize());
    const auto decoded = tokenizer.Decode(*ids);
    Require(decoded.ok() && fmaserver::ValidateUtf8(*decoded).ok());
  }
  std::array<int32_t, kVocabSize> every_id;
  std::iota(every_id.begin(), every_id.end(), 0);
  Require(tokenizer.Decode(every_id).ok());
  return 0;
}
