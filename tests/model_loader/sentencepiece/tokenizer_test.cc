#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

#include "base/utf8.h"
#include "gtest/gtest.h"
#include "model_loader/sentencepiece/tokenizer.h"
#include "nlohmann/json.hpp"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::model {
namespace {

using nlohmann::json;
using std::string_literals::operator""s;
using testing::ExpectRefusal;

constexpr const char* kFolder = FMA_SOURCE_DIR "/tests/data/tokenizer/";

std::unique_ptr<Tokenizer> Load(const std::string& name, int64_t vocab_size = 512) {
  const std::string file = kFolder + name + ".model";
  auto tokenizer = MakeSentencePieceTokenizer(testing::ReadFile(file), file, vocab_size);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

class ReferenceTest : public ::testing::TestWithParam<const char*> {};

// cases.json has the reference implementation's answers (make_models.py).
TEST_P(ReferenceTest, GivesTheSameIdsAndTexts) {
  const json all = json::parse(testing::ReadFile(std::string(kFolder) + "cases.json"));
  const auto tokenizer = Load(GetParam());
  ASSERT_FALSE(all.at(GetParam()).empty());
  for (const json& item : all.at(GetParam())) {
    const auto text = item.at("text").get<std::string>();
    const auto expected = item.at("ids").get<std::vector<int32_t>>();
    const auto ids = tokenizer->Encode(text);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, expected) << text;
    EXPECT_EQ(*tokenizer->Decode(expected), item.at("decoded").get<std::string>()) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ReferenceTest,
                         ::testing::Values("bpe_exact", "bpe_prefix", "unigram_rules",
                                           "unigram_suffix"),
                         [](const auto& info) { return std::string(info.param); });

TEST(SentencePieceTest, ExactModelsSpellEveryTextByteForByte) {
  const auto tokenizer = Load("bpe_exact");
  const std::string text = "  two  spaces\n\n\n\0nul \xF0\x9F\x98\x80\t1234 "s;
  const auto ids = tokenizer->Encode(text);
  ASSERT_TRUE(ids.ok()) << ids.status();
  std::string bytes;
  for (const int32_t id : *ids) bytes += tokenizer->TokenBytes(id);
  EXPECT_EQ(bytes, text);
  EXPECT_EQ(*tokenizer->Decode(*ids), text);
}

TEST(SentencePieceTest, TheDummyPrefixIsPartOfTheTokenButNotOfTheText) {
  const auto tokenizer = Load("bpe_prefix");
  const auto ids = tokenizer->Encode("the end");
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_TRUE(tokenizer->TokenBytes(ids->front()).starts_with(' '));
  EXPECT_EQ(*tokenizer->Decode(*ids), "the end");
}

TEST(SentencePieceTest, SpecialsHaveNoBytes) {
  const auto tokenizer = Load("bpe_prefix");  // 0 <unk>, 1 <s>, 2 </s>, 3.. bytes, 500.. padding
  for (const int32_t id : {0, 1, 2, 500, 511}) EXPECT_EQ(tokenizer->TokenBytes(id), "") << id;
  EXPECT_EQ(tokenizer->ControlText(1), "<s>");
  for (const int32_t id : {0, 3, 300, 511}) EXPECT_EQ(tokenizer->ControlText(id), "") << id;
  EXPECT_EQ(tokenizer->TokenBytes(3), std::string(1, '\0'));
  EXPECT_EQ(tokenizer->TokenBytes(3 + 0xE2), "\xE2");
  EXPECT_EQ(*tokenizer->Decode(std::vector<int32_t>{1, 3 + 'h', 511, 2}), "h");
  EXPECT_EQ(*tokenizer->Decode(std::vector<int32_t>{0}), " \xE2\x81\x87 ");
  EXPECT_EQ(*tokenizer->Decode(std::vector<int32_t>{3 + 0xE2, 3 + 'h'}), "\xEF\xBF\xBDh");
}

TEST(SentencePieceTest, SpellingASpecialDoesNotMakeOne) {
  const auto tokenizer = Load("bpe_prefix");
  const auto ids = tokenizer->Encode("<s></s><unk>");
  ASSERT_TRUE(ids.ok()) << ids.status();
  for (const int32_t id : *ids) EXPECT_GT(id, 2);
}

TEST(SentencePieceTest, ATemplatesTextMakesControlTokens) {
  const auto tokenizer = Load("bpe_prefix");
  const auto words = tokenizer->Encode("the end");
  const auto ids = tokenizer->Encode("<s>the end</s><unk>", ControlTokens::kAreFound);
  ASSERT_TRUE(ids.ok() && words.ok()) << ids.status();
  ASSERT_GT(ids->size(), words->size() + 2);
  std::vector<int32_t> expected = {1};
  expected.insert(expected.end(), words->begin(), words->end());
  expected.push_back(2);
  EXPECT_EQ(std::vector<int32_t>(ids->begin(), ids->begin() + std::ssize(expected)), expected);
  EXPECT_EQ(std::count(ids->begin(), ids->end(), 0), 0);  // no text becomes the unknown token
}

TEST(SentencePieceTest, HugeTextsWork) {
  for (const char* name : {"bpe_exact", "unigram_suffix"}) {
    const auto tokenizer = Load(name);
    std::string text;
    for (int i = 0; text.size() < 2'000'000; ++i) text += "the " + std::to_string(i) + " \xC3\xA9";
    const auto ids = tokenizer->Encode(text + std::string(100'000, 'a'));
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_GT(ids->size(), 100'000U);
  }
}

TEST(SentencePieceTest, RefusesBadTextAndBadIds) {
  const auto tokenizer = Load("bpe_exact");
  ExpectRefusal(tokenizer->Encode("ab\xC3").status(), {"UTF-8", "offset 2"});
  for (const int32_t id : {-1, 512}) {
    const absl::Status status = tokenizer->Decode(std::vector<int32_t>{id}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("allowed: 0 to 511"));
  }
}

TEST(SentencePieceTest, NoTruncationCrashes) {
  const std::string bytes = testing::ReadFile(std::string(kFolder) + "unigram_rules.model");
  for (size_t length = 0; length < bytes.size(); ++length) {
    const auto tokenizer =
        MakeSentencePieceTokenizer(std::string_view(bytes).substr(0, length), "t", 512);
    if (tokenizer.ok()) {
      EXPECT_TRUE((*tokenizer)->Encode("Hello world").ok());
    }
  }
}

// Serialized messages by hand.
std::string Field(int number, const std::string& bytes) {
  return std::string(1, static_cast<char>(number << 3 | 2)) + static_cast<char>(bytes.size()) +
         bytes;
}

std::string Piece(const std::string& text, float score, int type) {
  std::string score_bytes;
  for (int shift = 0; shift < 32; shift += 8) {
    score_bytes += static_cast<char>(std::bit_cast<uint32_t>(score) >> shift & 0xFF);
  }
  return Field(1, Field(1, text) + "\x15" + score_bytes + "\x18" + static_cast<char>(type));
}

const std::string kUnknown = Piece("<unk>", 0, 2);

TEST(SentencePieceTest, TheSmallestModel) {
  const auto tokenizer = MakeSentencePieceTokenizer(kUnknown + Piece("a", -1, 1), "t", 2);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(*(*tokenizer)->Encode("aab"), std::vector<int32_t>({0, 1, 1, 0}));
}

struct BadModel {
  const char* name;
  std::string bytes;
  std::vector<std::string> message;
};

class BadModelTest : public ::testing::TestWithParam<BadModel> {};

TEST_P(BadModelTest, IsRefused) {
  std::vector<std::string> parts = GetParam().message;
  parts.emplace_back("t: ");
  ExpectRefusal(MakeSentencePieceTokenizer(GetParam().bytes, "t", 3).status(), parts);
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

INSTANTIATE_TEST_SUITE_P(
    Table, BadModelTest,
    ::testing::ValuesIn(std::vector<BadModel>{
        {"Empty", "", {"number of pieces of type 2 (unknown) is 0; allowed: 1"}},
        {"Text", "hello world", {"not a SentencePiece model: malformed ModelProto"}},
        {"BadPiece", Field(1, "\x0B"), {"malformed SentencePiece"}},
        {"BadTrainer", kUnknown + Field(2, "\x18"), {"malformed TrainerSpec"}},
        {"BadNormalizer", kUnknown + Field(3, "\x18"), {"malformed NormalizerSpec"}},
        {"TooMany",
         kUnknown + Piece("a", 0, 1) + Piece("b", 0, 1) + Piece("c", 0, 1),
         {"number of pieces is more than 3", "at most \"vocab_size\" of config.json (3)"}},
        {"TwoUnknown", kUnknown + Piece("u", 0, 2), {"(unknown) is 2; allowed: 1"}},
        {"EmptyPiece", kUnknown + Piece("", 0, 1), {"piece 1 (\"\") is empty"}},
        {"BadUtf8", kUnknown + Piece("\xFF", 0, 1), {"piece 1", "is not valid UTF-8"}},
        {"Duplicate",
         kUnknown + Piece("a", 0, 1) + Piece("a", 0, 4),
         {"piece 2 is a second \"a\"; allowed: each text once"}},
        {"Nan", kUnknown + Piece("a", kNan, 1), {"score of piece 1 (\"a\") is nan", "finite"}},
        {"Infinite", kUnknown + Piece("a", -kInfinity, 1), {"score of piece 1", "-inf"}},
        {"Type", kUnknown + Piece("a", 0, 7), {"type of piece 1 (\"a\") is 7"}},
        {"Unused", kUnknown + Piece("a", 0, 5), {"type of piece 1 (\"a\") is 5"}},
        {"Byte", kUnknown + Piece("<0x41>", 0, 6), {"byte piece 1 is \"<0x41>\"", "byte_fallback"}},
        {"BytesMissing",
         kUnknown + Field(2, "\x98\x02\x01"),
         {"byte piece \"<0x00>\" is missing", "all 256"}},
        {"ByteName",
         kUnknown + Piece("<0x4a>", 0, 6) + Field(2, "\x98\x02\x01"),
         {"byte piece 1 is \"<0x4a>\""}},
        {"Word", kUnknown + Field(2, "\x18\x03"), {"model_type is 3", "1 (unigram), 2 (BPE)"}},
        {"Rules", kUnknown + Field(3, Field(2, "xy")), {"precompiled_charsmap"}},
        {"Denormalizer", kUnknown + Field(5, Field(2, "x")), {"denormalizer_spec", "empty"}},
    }),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace fmaserver::model
