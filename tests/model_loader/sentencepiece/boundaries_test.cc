#include "model_loader/sentencepiece/boundaries.h"

#include <initializer_list>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace fmaserver::model {
namespace {

SentencePieceModel ModelOf(std::initializer_list<const char*> texts) {
  SentencePieceModel model;
  for (const char* text : texts) model.pieces.push_back({.text = text});
  return model;
}

std::vector<std::string> Stretches(const SentencePieceModel& model, std::string_view text) {
  const Boundaries boundaries(model);
  std::vector<std::string> stretches;
  while (!text.empty()) {
    stretches.emplace_back(text.substr(0, boundaries.FirstStretch(text)));
    text.remove_prefix(stretches.back().size());
  }
  return stretches;
}

TEST(BoundariesTest, ATextIsCutWhereNoPieceLiesAcross) {
  const SentencePieceModel model = ModelOf({"a", "b", "ab",
                                            "\xE2\x96\x81"
                                            "a"});
  EXPECT_EQ(Stretches(model, "abab"), std::vector<std::string>({"ab", "ab"}));
  EXPECT_EQ(Stretches(model,
                      "ba\xE2\x96\x81"
                      "ab"),
            std::vector<std::string>({"b", "a",
                                      "\xE2\x96\x81"
                                      "ab"}));
  EXPECT_EQ(Stretches(model, "xyz"), std::vector<std::string>({"x", "y", "z"}));
}

TEST(BoundariesTest, CharactersStayWhole) {
  const SentencePieceModel model = ModelOf({"a"});
  EXPECT_EQ(Stretches(model,
                      "\xC3\xA9\xF0\x9F\x98\x80"
                      "a"),
            std::vector<std::string>({"\xC3\xA9", "\xF0\x9F\x98\x80", "a"}));
  EXPECT_EQ(Stretches(model,
                      "\x80\x80"
                      "a\xFF"),
            std::vector<std::string>({"\x80\x80", "a", "\xFF"}));
}

TEST(BoundariesTest, PiecesThatNoTextIsTurnedIntoDoNotCount) {
  SentencePieceModel model = ModelOf({"ab"});
  model.pieces[0].type = SentencePieceModel::PieceType::kControl;
  EXPECT_EQ(Stretches(model, "ab"), std::vector<std::string>({"a", "b"}));
}

}  // namespace
}  // namespace fmaserver::model
