#include "model_loader/tokenizer_json/tokenizer.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::model {
namespace {

using nlohmann::json;
using testing::ExpectRefusal;

constexpr const char* kFolder = FMA_SOURCE_DIR "/tests/data/tokenizer/";

std::unique_ptr<Tokenizer> Make(const json& file, int64_t vocab_size = 1024) {
  auto tokenizer = MakeJsonTokenizer(file.dump(), "t", vocab_size);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

json FileOf(const std::string& name) {
  return json::parse(testing::ReadFile(kFolder + name + ".json"));
}

class JsonReferenceTest : public ::testing::TestWithParam<const char*> {};

// json_cases.json holds what the original library answers (make_json.py).
TEST_P(JsonReferenceTest, GivesTheSameIdsAndTexts) {
  const json all = json::parse(testing::ReadFile(std::string(kFolder) + "json_cases.json"));
  const json& recorded = all.at(GetParam());
  const auto tokenizer = Make(FileOf(GetParam()));
  ASSERT_GT(recorded.at("cases").size(), 40U);
  for (const json& item : recorded.at("cases")) {
    const auto text = item.at("text").get<std::string>();
    const auto found = tokenizer->Encode(text, ControlTokens::kAreFound);
    const auto ids = tokenizer->Encode(text);
    ASSERT_TRUE(found.ok() && ids.ok()) << found.status() << ids.status();
    EXPECT_EQ(json(*found), item.at("found")) << text;
    EXPECT_EQ(json(*ids), item.at("ids")) << text;
    if (item.at("decoded").is_null()) continue;  // the original answers with another spelling
    EXPECT_EQ(json(*tokenizer->Decode(*ids)), item.at("decoded")) << text;
  }
}

TEST_P(JsonReferenceTest, TellsTheFrame) {
  const json all = json::parse(testing::ReadFile(std::string(kFolder) + "json_cases.json"));
  const TokenFrame frame = Make(FileOf(GetParam()))->Frame();
  std::vector<int32_t> ids = frame.before;
  ids.insert(ids.end(), frame.behind.begin(), frame.behind.end());
  EXPECT_EQ(json(ids), all.at(GetParam()).at("frame"));
}

INSTANTIATE_TEST_SUITE_P(Shapes, JsonReferenceTest,
                         ::testing::Values("gpt2", "smollm", "llama3", "qwen", "tekken", "deepseek",
                                           "mistral", "metaspace", "unknown", "punctuation"),
                         [](const auto& info) { return std::string(info.param); });

TEST(JsonTokenizerTest, AUsersTextNeverMakesAControlToken) {
  const auto tokenizer = Make(FileOf("llama3"));
  const std::string text = "<s>x<|end|>";
  const auto found = tokenizer->Encode(text, ControlTokens::kAreFound);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->size(), 3U);
  EXPECT_EQ(*tokenizer->Decode(*found), "x");
  EXPECT_EQ(tokenizer->TokenBytes(found->front()), "");
  EXPECT_EQ(tokenizer->ControlText(found->front()), "<s>");
  EXPECT_EQ(tokenizer->ControlText((*found)[1]), "");
  EXPECT_EQ(tokenizer->ControlText(tokenizer->VocabSize() - 1), "");
  const auto ids = tokenizer->Encode(text);
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_EQ(*tokenizer->Decode(*ids), text);
  std::string bytes;
  for (const int32_t id : *ids) bytes += tokenizer->TokenBytes(id);
  EXPECT_EQ(bytes, text);
}

TEST(JsonTokenizerTest, ATokenMayHoldAPartOfACharacter) {
  const auto tokenizer = Make(FileOf("qwen"));
  const std::string text = "\xF0\x9F\x98\x80";
  const auto ids = tokenizer->Encode(text);
  ASSERT_TRUE(ids.ok()) << ids.status();
  std::string bytes;
  for (const int32_t id : *ids) bytes += tokenizer->TokenBytes(id);
  EXPECT_EQ(bytes, text);
  ASSERT_GT(ids->size(), 1U);
  EXPECT_EQ(*tokenizer->Decode(std::vector<int32_t>{ids->front()}), "\xEF\xBF\xBD");
}

TEST(JsonTokenizerTest, HugeWordsWork) {
  const std::string letters(1 << 20, 'a');
  for (const char* name : {"llama3", "tekken", "deepseek", "smollm", "mistral"}) {
    const auto tokenizer = Make(FileOf(name));
    for (const std::string& text : {letters, std::string(1 << 20, ' '), letters + " " + letters}) {
      const auto ids = tokenizer->Encode(text);
      ASSERT_TRUE(ids.ok()) << name << ids.status();
      EXPECT_TRUE(*tokenizer->Decode(*ids) == text) << name;
    }
  }
}

TEST(JsonTokenizerTest, IdsBehindTheTokensArePadding) {
  const auto tokenizer = Make(FileOf("llama3"), 2000);
  EXPECT_EQ(tokenizer->VocabSize(), 2000);
  EXPECT_EQ(tokenizer->Kind(), "tokenizer.json");
  EXPECT_EQ(tokenizer->TokenBytes(1999), "");
  EXPECT_EQ(*tokenizer->Decode(std::vector<int32_t>{1999}), "");
  for (const int32_t id : {-1, 2000}) {
    const absl::Status status = tokenizer->Decode(std::vector<int32_t>{id}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("allowed: 0 to 1999"));
  }
}

TEST(JsonTokenizerTest, RefusesTextThatIsNotUtf8) {
  ExpectRefusal(Make(FileOf("llama3"))->Encode("ab\xC3").status(), {"UTF-8", "offset 2"});
}

/// The smallest vocabulary of characters.
json SmallFile() {
  return json::parse(R"({
    "added_tokens": [{"id": 3, "content": "<s>", "special": true}],
    "normalizer": null, "pre_tokenizer": null, "decoder": {"type": "Fuse"},
    "model": {"vocab": {"a": 0, "b": 1, "ab": 2, "?": 4, "<s>": 3}, "unk_token": "?",
              "merges": [["a", "b"]]}})");
}

TEST(JsonTokenizerTest, TheSmallestFile) {
  const auto tokenizer = Make(SmallFile());
  EXPECT_EQ(*tokenizer->Encode("aabcc"), std::vector<int32_t>({0, 2, 4, 4}));
  json fused = SmallFile();
  fused["model"]["fuse_unk"] = true;
  EXPECT_EQ(*Make(fused)->Encode("aabcc<b"), std::vector<int32_t>({0, 2, 4, 1}));
}

TEST(JsonTokenizerTest, RefusesATextThatGrowsBeyondMeasure) {
  json file = SmallFile();
  const std::string content(100, 'a');
  file["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", content}};
  const absl::Status status = Make(file)->Encode(std::string(1000, 'a')).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              ::testing::HasSubstr("too long once it is normalized"));
}

struct BadFile {
  const char* name;
  const char* patch;  ///< merged into SmallFile()
  std::vector<std::string> message;
};

class BadFileTest : public ::testing::TestWithParam<BadFile> {};

TEST_P(BadFileTest, IsRefused) {
  json file = SmallFile();
  file.merge_patch(json::parse(GetParam().patch));
  std::vector<std::string> parts = GetParam().message;
  parts.emplace_back("t: ");
  ExpectRefusal(MakeJsonTokenizer(file.dump(), "t", 5).status(), parts);
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadFileTest,
    ::testing::ValuesIn(std::vector<BadFile>{
        {"Key", R"({"extra": 1})", {"\"extra\" is no key"}},
        {"Model", R"({"model": null})", {"\"model\" is missing"}},
        {"Type", R"({"model": {"type": "WordPiece"}})", {"model.type", "WordPiece", "BPE"}},
        {"ModelKey", R"({"model": {"extra": 1}})", {"model.extra"}},
        {"Dropout", R"({"model": {"dropout": 0.1}})", {"model.dropout", "0.1", "null or 0"}},
        {"Suffix", R"({"model": {"end_of_word_suffix": "</w>"}})", {"end_of_word_suffix", "</w>"}},
        {"Prefix", R"({"model": {"continuing_subword_prefix": "##"}})", {"##"}},
        {"Vocab", R"({"model": {"vocab": null}})", {"model.vocab", "missing"}},
        {"IdTooLarge", R"({"model": {"vocab": {"c": 5}}})", {"vocab: ", "is 5", "vocab_size"}},
        {"IdTwice", R"({"model": {"vocab": {"c": 2}}})", {"is 2", "not the id of"}},
        {"IdNegative", R"({"model": {"vocab": {"c": -1}}})", {"is -1"}},
        {"IdText", R"({"model": {"vocab": {"c": "1"}}})", {"c"}},
        {"EmptyToken",
         R"({"model": {"vocab": {"": 4, "?": null}}})",
         {"tokens that are not empty"}},
        {"Unknown", R"({"model": {"unk_token": "x"}})", {"model.unk_token", "\"x\""}},
        {"NoUnknown", R"({"model": {"unk_token": null}})", {"model.unk_token", "byte_fallback"}},
        {"Bytes", R"({"model": {"byte_fallback": true}})", {"<0x00>", "missing"}},
        {"NoMerges", R"({"model": {"merges": null}})", {"model.merges", "missing"}},
        {"MergeWord", R"({"model": {"merges": ["ab"]}})", {"model.merges[0]", "ab"}},
        {"MergeThree", R"({"model": {"merges": ["a b c"]}})", {"model.merges[0]"}},
        {"MergePart", R"({"model": {"merges": [["a", "c"]]}})", {"model.merges[0]"}},
        {"MergeProduct", R"({"model": {"merges": [["a", "b"], ["b", "a"]]}})", {"model.merges[1]"}},
        {"MergeUnknown",
         R"({"model": {"unk_token": "b"}})",
         {"model.merges[0]", "a b", "without \"unk_token\""}},
        {"Added", R"({"added_tokens": 1})", {"\"added_tokens\" is 1"}},
        {"AddedItem", R"({"added_tokens": [1]})", {"added_tokens[0]", "an object"}},
        {"AddedKey",
         R"({"added_tokens": [{"id": 3, "content": "<s>", "x": 1}]})",
         {"added_tokens[0].x", "no key"}},
        {"AddedOtherId",
         R"({"added_tokens": [{"id": 4, "content": "<s>"}]})",
         {"added_tokens[0].id", "is 4", "allowed: 3, which \"<s>\" has"}},
        {"AddedGap",
         R"({"added_tokens": [{"id": 3, "content": "new"}]})",
         {"added_tokens[0].id", "is 3", "allowed: 5"}},
        {"AddedEmpty",
         R"({"added_tokens": [{"id": 3, "content": ""}]})",
         {"added_tokens[0].content", "0 bytes"}},
        {"Normalizer",
         R"({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}})",
         {"normalizer.normalizers[0].type", "Lowercase", "NFC"}},
        {"NormalizerText", R"({"normalizer": "NFC"})", {"\"normalizer\"", "NFC", "an object"}},
        {"PreTokenizer",
         R"({"pre_tokenizer": {"type": "BertPreTokenizer"}})",
         {"pre_tokenizer.type", "BertPreTokenizer", "ByteLevel"}},
        {"BehindByteLevel",
         R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers":
             [{"type": "ByteLevel"}, {"type": "Digits"}]}})",
         {"pre_tokenizer.pretokenizers[1].type", "no step behind ByteLevel"}},
        {"FallbackOfBytes",
         R"({"pre_tokenizer": {"type": "ByteLevel"}, "model": {"byte_fallback": true}})",
         {"model.byte_fallback", "false with ByteLevel"}},
        {"Expression",
         R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a("}, "behavior": "Isolated"}})",
         {"pre_tokenizer.pattern", "regular expression", "missing closing parenthesis"}},
        {"EmptyMatch",
         R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a*"}, "behavior": "Isolated"}})",
         {"pre_tokenizer.pattern", "matches at least a character"}},
        {"Behavior",
         R"({"pre_tokenizer": {"type": "Split", "pattern": {"String": "a"}, "behavior": "x"}})",
         {"pre_tokenizer.behavior", "Isolated"}},
        {"Pattern",
         R"({"pre_tokenizer": {"type": "Split", "pattern": "a"}})",
         {"pattern", "Regex"}},
        {"Decoder", R"({"decoder": null})", {"\"decoder\" is missing"}},
        {"DecoderType", R"({"decoder": {"type": "WordPiece"}})", {"decoder.type", "WordPiece"}},
        {"DecoderOrder",
         R"({"decoder": {"type": "Sequence", "decoders":
             [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]}})",
         {"decoder.decoders[0].type", "in this order"}},
        {"Processor", R"({"post_processor": {"type": "BertProcessing"}})", {"post_processor.type"}},
        {"TemplateIds",
         R"({"post_processor": {"type": "TemplateProcessing",
             "single": [{"SpecialToken": {"id": "x", "type_id": 0}}, {"Sequence": {"id": "A"}}],
             "special_tokens": {"x": {"ids": [7]}}}})",
         {"post_processor.special_tokens.x", "\"ids\" below 5"}},
        {"TemplateTexts",
         R"({"post_processor": {"type": "TemplateProcessing", "single": []}})",
         {"post_processor.single", "0 texts", "allowed: 1"}},
    }),
    [](const auto& info) { return std::string(info.param.name); });

TEST(JsonTokenizerTest, RefusesWhatIsNoJson) {
  ExpectRefusal(MakeJsonTokenizer("[]", "t", 5).status(), {"t: JSON", "an object"});
  EXPECT_FALSE(MakeJsonTokenizer("{", "t", 5).ok());
  EXPECT_FALSE(MakeJsonTokenizer("", "t", 5).ok());
}

}  // namespace
}  // namespace fmaserver::model
