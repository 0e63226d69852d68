// The memory that encoding a text takes.
#include <string>

#include "gtest/gtest.h"
#include "model_loader/sentencepiece/tokenizer.h"
#include "tests/support/counted_memory.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::model {
namespace {

/// The peak memory, in bytes per byte of `text`.
double BytesPerByte(const std::string& model, const std::string& text) {
  const std::string file = FMA_SOURCE_DIR "/" + model;
  const auto tokenizer = MakeSentencePieceTokenizer(testing::ReadFile(file), file, 8192);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  const size_t before = testing::ResetPeakBytes();
  EXPECT_TRUE((*tokenizer)->Encode(text).ok());
  return static_cast<double>(testing::PeakBytes() - before) / static_cast<double>(text.size());
}

std::string Repeated(std::string_view part) {
  std::string text;
  while (text.size() < size_t{1} << 20) text += part;
  return text;
}

TEST(TokenizerMemoryTest, OrdinaryTextTakesASmallMultiple) {
  const std::string text =
      Repeated("It was the best of times, it was the worst of times; \"1859\".\n");
  for (const char* model :
       {"models/fma-books-11m/tokenizer.model", "tests/data/tokenizer/bpe_exact.model",
        "tests/data/tokenizer/unigram_suffix.model"}) {
    EXPECT_LE(BytesPerByte(model, text), 12.0) << model;
  }
}

TEST(TokenizerMemoryTest, NoTextTakesMuchMore) {
  // After normalisation a space has three bytes, and many spaces are one long stretch.
  for (const char* part : {" ", "a", "\xE2\x96\x81", "the"}) {
    EXPECT_LE(BytesPerByte("tests/data/tokenizer/bpe_exact.model", Repeated(part)), 45.0) << part;
    EXPECT_LE(BytesPerByte("tests/data/tokenizer/unigram_suffix.model", Repeated(part)), 45.0)
        << part;
  }
}

}  // namespace
}  // namespace fmaserver::model
