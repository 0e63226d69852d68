// Encoders' forward pass: texts side by side, slices, memory, and what is refused.
#include "server/engine/encoder.h"

#include <cmath>
#include <cstdlib>
#include <numeric>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace {

int64_t allocated = 0;

}  // namespace

/// What backends allocate for matrices: this replaces the C library's.
extern "C" void* aligned_alloc(size_t alignment, size_t size) noexcept {
  allocated += static_cast<int64_t>(size);
  void* memory = nullptr;
  return posix_memalign(&memory, alignment, size) == 0 ? memory : nullptr;
}

namespace fmaserver::testing {
namespace {

model::ModelConfig EncoderConfig(bool by_share) {
  model::ModelConfig config = SmallConfig();
  config.attention.causal = false;
  config.attention.query_downsampling = by_share;
  config.attention.hierarchy.sink_tokens = 0;
  config.attention.padding = kernels::Padding::kMasked;
  return config;
}

absl::StatusOr<std::unique_ptr<engine::Encoder>> Load(const model::ModelConfig& config,
                                                      engine::EncoderOptions options = {}) {
  const TempFolder folder;
  EXPECT_TRUE(WriteRandomCheckpoint(config, 1, kernels::WeightFormat::kF32, folder.path()).ok());
  const auto checkpoint = model::Checkpoint::Open(folder.path());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return engine::Encoder::Load(*checkpoint, *kernels::MakeCpuBackend(2), options);
}

using Texts = std::vector<std::vector<int32_t>>;

Texts RandomTexts(std::initializer_list<int64_t> lengths) {
  std::mt19937 random(7);
  Texts texts;
  for (const int64_t length : lengths) {
    std::vector<int32_t>& text = texts.emplace_back(length);
    for (int32_t& token : text) token = static_cast<int32_t>(random() % 256);
  }
  return texts;
}

engine::Encoding Encode(engine::Encoder& encoder, const Texts& texts) {
  const std::vector<std::span<const int32_t>> views(texts.begin(), texts.end());
  auto encoding = encoder.Encode(views);
  EXPECT_TRUE(encoding.ok()) << encoding.status();
  return *std::move(encoding);
}

/// Logits of every row, then the embeddings.
std::vector<float> AllOf(engine::Encoder& encoder, const Texts& texts) {
  const engine::Encoding encoding = Encode(encoder, texts);
  std::vector<float> all;
  for (int32_t row = 0; row < encoding.rows(); ++row) {
    const auto logits = encoder.Logits(encoding, {{row}});
    EXPECT_TRUE(logits.ok()) << logits.status();
    all.insert(all.end(), logits->begin(), logits->end());
  }
  for (int64_t text = 0; text < encoding.texts(); ++text) {
    const std::vector<float> embedding = encoding.Embedding(text);
    const double square =
        std::inner_product(embedding.begin(), embedding.end(), embedding.begin(), 0.0);
    EXPECT_NEAR(square, 1, 1e-5);
    all.insert(all.end(), embedding.begin(), embedding.end());
  }
  return all;
}

class EncoderTest : public ::testing::TestWithParam<bool> {};

TEST_P(EncoderTest, TextsDoNotChangeEachOther) {
  const Texts texts = RandomTexts({130, 1, 40, 7});
  const auto encoder = Load(EncoderConfig(GetParam()));
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  const std::vector<float> together = AllOf(**encoder, texts);
  const int64_t vocab = (*encoder)->config().vocab_size;
  auto logits = together.begin();
  auto embedding = together.begin() + (130 + 1 + 40 + 7) * vocab;
  for (const std::vector<int32_t>& text : texts) {
    const std::vector<float> alone = AllOf(**encoder, {text});
    const auto of_logits = std::ssize(text) * vocab;
    ASSERT_TRUE(std::equal(alone.begin(), alone.begin() + of_logits, logits));
    ASSERT_TRUE(std::equal(alone.begin() + of_logits, alone.end(), embedding));
    logits += of_logits;
    embedding += std::ssize(alone) - of_logits;
  }
}

TEST_P(EncoderTest, SlicesChangeNoBit) {
  const Texts texts = RandomTexts({130, 1, 40});
  std::vector<float> expected;
  for (const int32_t rows : {1, 3, 64, 1000}) {
    const auto encoder = Load(EncoderConfig(GetParam()), {.slice_rows = rows});
    ASSERT_TRUE(encoder.ok()) << encoder.status();
    const std::vector<float> found = AllOf(**encoder, texts);
    if (expected.empty()) expected = found;
    ASSERT_EQ(found, expected) << rows;
  }
}

/// No step is longer because the text is.
TEST_P(EncoderTest, ReadsEveryPartOfALayerInPieces) {
  const model::ModelConfig config = EncoderConfig(GetParam());
  const auto encoder = Load(config);
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  const std::vector<int32_t> text(10 * engine::Encoder::kPieceRows, 65);
  auto encoding = (*encoder)->Begin({{text}});
  ASSERT_TRUE(encoding.ok()) << encoding.status();
  int64_t pieces = 0;
  for (; !encoding->done(); ++pieces) ASSERT_TRUE((*encoder)->Advance(*encoding).ok());
  // Tokens and their sums; products, attention and products of each layer.
  EXPECT_GE(pieces, 10 * (2 + 3 * config.num_layers));
}

TEST_P(EncoderTest, SeesBothSides) {
  const auto encoder = Load(EncoderConfig(GetParam()));
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  Texts texts = RandomTexts({130});
  const auto first = [&] {
    const auto logits = (*encoder)->Logits(Encode(**encoder, texts), {{0}});
    return std::vector<float>(logits->begin(), logits->end());
  };
  const std::vector<float> before = first();
  texts[0].back() ^= 1;
  EXPECT_NE(first(), before);
}

TEST_P(EncoderTest, HoldsTheBytesThatItSaid) {
  const auto encoder = Load(EncoderConfig(GetParam()));
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  for (const std::vector<int64_t>& lengths :
       std::vector<std::vector<int64_t>>{{1}, {1000}, {5, 300, 64}}) {
    Texts texts;
    for (const int64_t length : lengths) texts.emplace_back(length, 65);
    allocated = 0;
    const engine::Encoding encoding = Encode(**encoder, texts);
    // Each matrix is rounded up to SlotLayout::kAlignment.
    EXPECT_GE(allocated, (*encoder)->BytesFor(lengths));
    EXPECT_LE(allocated, (*encoder)->BytesFor(lengths) + 4 * 63);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, EncoderTest, ::testing::Bool(), [](const auto& info) {
  return std::string(info.param ? "AsksByShare" : "AsksByToken");
});

TEST(EncoderRefusals, NameWhatIsWrong) {
  const auto encoder = Load(EncoderConfig(true), {.slice_rows = 4});
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  const std::vector<int32_t> good = {1, 2, 3};
  const std::vector<int32_t> empty;
  const std::vector<int32_t> foreign = {1, 260};
  const auto encode = [&](std::vector<std::span<const int32_t>> texts) {
    return (*encoder)->Encode(texts).status();
  };
  ExpectRefusal(encode({}), {"texts is 0", "1 or more"});
  ExpectRefusal(encode({good, empty}), {"texts[1]"});
  ExpectRefusal(encode({good, foreign}), {"texts[1][1] is 260"});
  const engine::Encoding encoding = Encode(**encoder, {good});
  const std::vector<int32_t> rows(5);
  ExpectRefusal((*encoder)->Logits(encoding, rows).status(), {"5 rows", "1 to 4"});
  ExpectRefusal(Load(EncoderConfig(true), {.slice_rows = 0}).status(), {"slice_rows is 0"});
}

TEST(EncoderRefusals, DecodersAreNotEncodersNorTheReverse) {
  ExpectRefusal(Load(SmallConfig()).status(),
                {"architectures is FmaForCausalLM", "FmaForMaskedLM"});
  const TempFolder folder;
  ASSERT_TRUE(
      WriteRandomCheckpoint(EncoderConfig(false), 1, kernels::WeightFormat::kF32, folder.path())
          .ok());
  const auto checkpoint = model::Checkpoint::Open(folder.path());
  ASSERT_TRUE(checkpoint.ok());
  const auto model = engine::Model::Load(*checkpoint, *kernels::MakeCpuBackend(1), {});
  ExpectRefusal(model.status(), {"architectures is FmaForMaskedLM, an encoder", "FmaForCausalLM"});
}

}  // namespace
}  // namespace fmaserver::testing
