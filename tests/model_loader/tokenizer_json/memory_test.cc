// The memory that encoding a text takes.
#include <string>

#include "gtest/gtest.h"
#include "model_loader/tokenizer_json/tokenizer.h"
#include "tests/support/counted_memory.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::model {
namespace {

/// Peak bytes for each byte of a text of 1 MiB that repeats `part`.
double BytesPerByte(const std::string& vocabulary, std::string_view part) {
  const std::string file = FMA_SOURCE_DIR "/tests/data/tokenizer/" + vocabulary + ".json";
  const auto tokenizer = MakeJsonTokenizer(testing::ReadFile(file), file, 8192);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  std::string text;
  while (text.size() < size_t{1} << 20) text += part;
  const size_t before = testing::ResetPeakBytes();
  EXPECT_TRUE((*tokenizer)->Encode(text).ok());
  return static_cast<double>(testing::PeakBytes() - before) / static_cast<double>(text.size());
}

TEST(JsonTokenizerMemoryTest, OrdinaryTextTakesASmallMultiple) {
  for (const char* vocabulary : {"llama3", "qwen", "smollm", "mistral", "unknown"}) {
    EXPECT_LE(BytesPerByte(vocabulary, "It was the best of times, \"1859\".\n"), 12.0)
        << vocabulary;
  }
}

TEST(JsonTokenizerMemoryTest, NoTextTakesMuchMore) {
  // One word each, and where pieces of the vocabulary lie across all of it one stretch.
  for (const char* vocabulary : {"llama3", "qwen", "mistral"}) {
    for (const char* part : {" ", "a", "the", "\u4f60", "\u0301"}) {
      EXPECT_LE(BytesPerByte(vocabulary, part), 45.0) << vocabulary << " " << part;
    }
  }
}

}  // namespace
}  // namespace fmaserver::model
